//! The root cause of an error.

use std::error::Error;

/// Follows the chain of [`Error::source`] to its end. The errors around the root cause of a failed request only say that
/// the request failed.
pub(crate) fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

#[cfg(test)]
mod tests {
    use std::io;

    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("the request failed")]
    struct Outer(#[source] Inner);

    #[derive(Debug, Error)]
    #[error("the connection failed")]
    struct Inner(#[source] io::Error);

    #[test]
    fn the_root_cause_is_the_last_source_and_an_error_without_source_is_its_own() {
        let error = Outer(Inner(io::Error::other("connection refused")));
        assert_eq!(root_cause(&error).to_string(), "connection refused");
        assert_eq!(root_cause(&io::Error::other("disk full")).to_string(), "disk full");
    }
}
