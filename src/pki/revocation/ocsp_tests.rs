//! Tests of OCSP answers.
