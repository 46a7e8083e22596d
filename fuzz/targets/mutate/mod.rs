//! Changes that get past the outer checks of a format, to the structures behind them.
//!
//! libFuzzer's own changes mostly break an offset, a length or a hash, and the input is refused at the door. These keep
//! an image the shape of an image and a package the shape of a package, mostly: the bodies still see broken doors too.

pub mod image;
pub mod package;
pub mod random;
