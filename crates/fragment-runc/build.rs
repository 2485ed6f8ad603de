//! Links the static program with an entry point of its own (`fragment_sys::entry`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |variable: &str, wanted: &str| {
        std::env::var(variable).is_ok_and(|value| value.split(',').any(|one| one == wanted))
    };
    // a dynamic program is begun by the dynamic loader, which has set everything up by then
    if is("CARGO_CFG_TARGET_FEATURE", "crt-static") && is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        println!("cargo:rustc-link-arg-bins=-Wl,--entry=fragment_entry");
    }
}
