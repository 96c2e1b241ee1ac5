//! The fuzz targets of `cratekube_tests::fuzz` for `cargo fuzz`: the very same functions, with inputs that
//! coverage guides. Nothing is decided here.

pub use cratekube_tests::fuzz::once;
pub use libfuzzer_sys;

/// The one target of a program.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| { $crate::once($name, input) });
    };
}
