//! A responder that plays every part, and what is made of it.
