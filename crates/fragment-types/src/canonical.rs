//! Canonical JSON: the one byte sequence of a document that is digested.
//!
//! Keys in byte order, no insignificant white space, no floating-point numbers in our documents: for those the form
//! equals RFC 8785 (JCS).

use serde::Serialize;

use crate::digest::Digest;

/// The canonical bytes of `document`.
///
/// # Errors
/// When `document` cannot be expressed in JSON (a map whose keys are not strings).
pub fn to_vec<T: Serialize>(document: &T) -> serde_json::Result<Vec<u8>> {
    // serde_json's `Value` keeps objects in a BTreeMap (feature preserve_order is off): keys come out sorted
    serde_json::to_vec(&serde_json::to_value(document)?)
}

/// Digest of the canonical bytes of `document`.
///
/// # Errors
/// As [`to_vec`].
pub fn digest<T: Serialize>(document: &T) -> serde_json::Result<Digest> {
    Ok(Digest::of(&to_vec(document)?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_are_sorted_whatever_the_declaration_order() {
        #[derive(serde::Serialize)]
        struct Document {
            b: u8,
            a: &'static str,
        }
        // fails if some dependency switches serde_json's preserve_order on
        assert_eq!(
            super::to_vec(&Document { b: 1, a: "x" }).unwrap(),
            br#"{"a":"x","b":1}"#
        );
    }
}
