//! The on-disk structures of squashfs 4.0.
