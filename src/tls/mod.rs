pub mod error;
pub mod tls_conn;
