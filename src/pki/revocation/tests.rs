//! Tests of CRLs.
