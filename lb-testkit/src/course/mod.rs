//! The chapters.
