//! A thread that waits on a file system may outlive the module that started it (`mount.rs`), so the library stays
//! mapped once it is loaded: dlclose(3) of it does nothing.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
