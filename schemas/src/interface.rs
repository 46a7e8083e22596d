//! Interface definitions.
