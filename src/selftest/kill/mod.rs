//! Two operators killed without warning under load.
