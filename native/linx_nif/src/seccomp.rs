//! NIFs of this subsystem.
