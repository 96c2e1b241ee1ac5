//! What holds for the API as a whole.

mod access;
mod documents;
mod limits;
mod routes;
