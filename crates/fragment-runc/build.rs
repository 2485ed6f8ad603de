//! Links the static program with an entry point of its own (`fragment_sys::entry`), and with what a start executes side by side.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |variable: &str, wanted: &str| {
        std::env::var(variable).is_ok_and(|value| value.split(',').any(|one| one == wanted))
    };
    // a dynamic program is begun by the dynamic loader, which has set everything up by then
    if is("CARGO_CFG_TARGET_FEATURE", "crt-static") && is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        println!("cargo:rustc-link-arg-bins=-Wl,--entry=fragment_entry");
        // see `fragment_sys::entry`
        for function in ["__register_frame_info", "__deregister_frame_info"] {
            println!("cargo:rustc-link-arg-bins=-Wl,--wrap={function}");
        }
    }
    // a list of symbols for a linker that can be told their order (lld); hack/build knows whether it is one
    println!("cargo:rerun-if-env-changed=FRAGMENT_FUNCTION_ORDER");
    if let Ok(list) = std::env::var("FRAGMENT_FUNCTION_ORDER") {
        println!("cargo:rerun-if-changed={list}");
        println!("cargo:rustc-link-arg-bins=-Wl,--symbol-ordering-file={list}");
        println!("cargo:rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
    }
}
