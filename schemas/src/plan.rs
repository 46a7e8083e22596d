//! What a launch will do.
