//! Wraps a squashfs image that another tool made in a package signed with a key that everybody knows, to test and
//! measure the mount with images that the builder would not make: `wrap-image IMAGE PACKAGE`.

#[path = "../tests/mount_support/mod.rs"]
mod mount_support;

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [image, package] = arguments.as_slice() else { panic!("usage: wrap-image IMAGE PACKAGE") };
    mount_support::wrap(image.as_ref(), package.as_ref());
}
