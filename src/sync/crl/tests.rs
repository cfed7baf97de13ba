//! Fetching CRLs.
