//! Kafka's errors, grouped by what has to follow.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use super::acl::Acl;

/// A failed operation on Kafka.
///
/// No variant says whether an open transaction was committed. After any of them, the only way to know is to create a
/// new producer, which settles the open transaction, and to read the tracking partition again.
#[derive(Debug, Error)]
pub enum KafkaFault {
    /// Another process has taken over this lane.
    #[error(
        "another instance has taken over lane {lane} (fenced): two programs must not share a \
         `kafka.transactional_id_prefix`; stop one of them or give each its own stores, prefix and tracking topic"
    )]
    Fenced { lane: i32 },
    /// Kafka does not allow this user the operation, or does not know the user.
    #[error("Kafka does not allow {what} ({code}): {}", advice(.missing.as_deref()))]
    NotAllowed {
        what: &'static str,
        /// Kafka's name of the error.
        code: String,
        /// The ACL that the user lacks, if known.
        missing: Option<Box<Acl>>,
    },
    /// A topic is missing, inaccessible, or not configured as it must be.
    #[error("{0}")]
    Topic(String),
    /// The broker rejects a record as too large.
    #[error(
        "Kafka refuses a record of {bytes} bytes as too large: raise `max.message.bytes` of the topic (and \
         `message.max.bytes` of the broker); the page stays in the spool until then"
    )]
    TooLarge {
        /// Size of the record's value.
        bytes: usize,
    },
    /// The file with the value of a property can't be read.
    #[error("can't read the file of `{property}`, {path}: {reason}")]
    PropertyFile {
        /// The property, without `_file`.
        property: String,
        path: String,
        reason: std::io::Error,
    },
    /// No client can be made from the settings.
    #[error("Kafka's client can't be made from the settings: {0}")]
    Settings(String),
    /// No connection is possible until somebody changes something: the credentials, a certificate, the protocol.
    #[error("{what} failed: {why}")]
    NoConnection {
        what: &'static str,
        /// What is wrong at which broker, and what to do about it.
        why: String,
    },
    /// A fault that passes by itself or with the broker's return.
    #[error("{what} failed: {why}")]
    Passing {
        what: &'static str,
        /// The client's message, without a payload.
        why: String,
    },
}

impl KafkaFault {
    /// Whether only a person can help, and only while the program is stopped. After any other fault, a new producer is
    /// worth trying.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        // guard: a fenced lane is not taken back
        // guard: a service goes on trying with wrong credentials
        !matches!(self, Self::Passing { .. } | Self::NoConnection { .. })
    }

    /// Whether a command should give up at once. A service keeps trying and reports why, since the password or the
    /// certificate may be changed on the broker. A fenced lane is not meant: its owner decides whether it is lost.
    #[must_use]
    pub fn ends_a_command(&self) -> bool {
        matches!(self, Self::NoConnection { .. })
    }

    /// Adds `acl` as the missing ACL if the broker's error is about it.
    pub(crate) fn lacking(self, acl: impl FnOnce() -> Acl) -> Self {
        match self {
            Self::NotAllowed { what, code, missing: None } => {
                let missing = Some(Box::new(acl())).filter(|acl| acl.code() == code);
                Self::NotAllowed { what, code, missing }
            }
            other => other,
        }
    }

    /// The fault for an empty answer where settings were expected: this user may lack `acl`.
    pub(super) fn untold(what: &'static str, acl: Acl) -> Self {
        Self::NotAllowed { what, code: acl.code().to_owned(), missing: Some(Box::new(acl)) }
    }

    /// The ACL that the user lacks, if known.
    #[must_use]
    pub fn missing(&self) -> Option<&Acl> {
        match self {
            Self::NotAllowed { missing, .. } => missing.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn of(what: &'static str, lane: i32, error: &KafkaError) -> Self {
        match error {
            // The Debug form of this variant prints the value, which may be a secret: name only the key.
            KafkaError::ClientConfig(_, description, key, _) => Self::Settings(format!("`{key}`: {description}")),
            KafkaError::ClientCreation(why) => Self::Settings(why.clone()),
            _ => Self::of_code(what, lane, error.rdkafka_error_code(), &said(error)),
        }
    }

    pub(crate) fn of_code(what: &'static str, lane: i32, code: Option<RDKafkaErrorCode>, why: &str) -> Self {
        use RDKafkaErrorCode as Code;
        match code {
            Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => Self::Fenced { lane },
            Some(
                code @ (Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::SecurityDisabled),
            ) => Self::NotAllowed { what, code: format!("{code:?}"), missing: None },
            Some(Code::SaslAuthenticationFailed | Code::Authentication) => Self::NoConnection {
                what,
                why: "a broker does not accept the credentials in `kafka.properties`".to_owned(),
            },
            _ => Self::Passing { what, why: why.to_owned() },
        }
    }
}

fn advice(missing: Option<&Acl>) -> String {
    match missing {
        Some(acl) => format!("{acl}: `{}`", acl.command()),
        None => "check the credentials in `kafka.properties` and the user's ACLs".to_owned(),
    }
}

/// The client's own message. librdkafka's text about a transaction says more than its code.
fn said(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.string(),
        KafkaError::ClientCreation(why) => why.clone(),
        other => {
            other.rdkafka_error_code().map_or_else(|| "the client gives no reason".to_owned(), |code| code.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_setting_is_named_without_its_value() {
        use rdkafka::consumer::BaseConsumer;
        let refused: Result<BaseConsumer, _> =
            rdkafka::ClientConfig::new().set("socket.timeout.ms", "hunter2").create();
        let error = refused.err().expect("it is no number");
        let text = KafkaFault::of("a connection", 0, &error).to_string();
        assert!(text.contains("socket.timeout.ms") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_fenced_producer_is_not_replaced_by_itself() {
        let fault = KafkaFault::of_code("a commit", 3, Some(RDKafkaErrorCode::ProducerFenced), "");
        assert!(fault.needs_a_person() && fault.to_string().contains("lane 3"));
        assert!(!fault.ends_a_command(), "a lane that outlived its transaction takes itself back");
        assert!(!KafkaFault::of_code("a commit", 3, Some(RDKafkaErrorCode::AllBrokersDown), "").needs_a_person());
    }

    #[test]
    fn credentials_that_are_refused_end_a_command_and_not_a_service() {
        let fault = KafkaFault::of_code("a commit", 3, Some(RDKafkaErrorCode::Authentication), "");
        assert!(fault.ends_a_command() && !fault.needs_a_person());
    }
}
