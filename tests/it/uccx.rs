//! Old TLS, contained: every statement of the UCCX matrix, and the routes that it is about, with real
//! programs at both ends.
//!
//! Each named case has a control run without the gateway, which must fail: a peer that could do
//! better would show nothing.

mod audit;
mod ends;
mod exchange;
mod jdbc;
mod matrix;
mod route;
mod salesforce;
