//! A thread that waits for a file system may outlive the module that started it (`mount.rs`), so
//! the library stays mapped after dlclose(3).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
