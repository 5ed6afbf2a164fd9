//! Explains why connections fail.
//!
//! librdkafka reports the cause only to a client's error callback and log. The call that needed the connection ends
//! with a time-out or a "transport failure". So each client of this program keeps what its callbacks reported last, for
//! as long as it may still hold, and adds it to every error.
//!
//! Some causes can't pass by themselves: wrong credentials, an untrusted certificate, a listener with another protocol.
//! A client reports such a lasting cause only if no broker at all could be reached, and each one that was tried failed
//! for such a cause. A refused connection alone means a broker that restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaFault;

/// librdkafka repeats a cause that still holds every 30 seconds, and is silent about it in between.
const HOLDS_FOR: Duration = Duration::from_secs(60);
/// How long a broker must fail in the same way before librdkafka's guess at the cause is believed. A broker that is
/// killed during a handshake looks the same for a moment.
const BELIEVED_AFTER: Duration = Duration::from_secs(5);
/// How many brokers' causes are kept.
const MOST_BROKERS: usize = 16;
/// How many brokers' causes an error names.
const MOST_SAID: usize = 3;
/// A broker's own message can be long.
const LONGEST: usize = 300;

/// The kind of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The broker rejects the user, the password or the mechanism.
    Credentials,
    /// The broker's certificate is not signed by a trusted authority, has expired, or belongs to another host.
    BrokerCertificate,
    /// The broker wants a certificate from the client, or a different one.
    ClientCertificate,
    /// The listener speaks another protocol.
    Protocol,
    /// The listener hangs up. It may speak another protocol, but a broker in trouble hangs up too.
    PerhapsProtocol,
    /// The host name can't be resolved.
    Name,
    /// Refused, cut or timed out: may pass by itself.
    Other,
}

impl Kind {
    /// Classifies librdkafka's message and its description of the connection's state: `3ms in state SSL_HANDSHAKE`.
    fn of(text: &str, state: &str) -> Self {
        let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        if has(&["Failed to resolve"]) {
            return Self::Name;
        }
        // "Local" means that sending the request failed; it is not the broker's answer.
        if has(&["Request failed: Local:", "handshake failed: Local:", "parsing failed: Local:"]) {
            return Self::Other;
        }
        if has(&["not valid in current SASL state", "wrong version number", "Invalid response size"]) {
            return Self::Protocol;
        }
        if has(&["SASL authentication error", "SASL authentication failure", "Failed to initialize SASL"])
            || has(&["mechanism handshake failed"])
        {
            return Self::Credentials;
        }
        if has(&["certificate verify failed", "verify broker certificate", "did not provide a certificate"]) {
            return Self::BrokerCertificate;
        }
        let alerts =
            ["certificate required", "bad certificate", "unknown ca", "certificate expired", "unknown certificate"];
        if has(&["alert", "client SSL authentication might be required"])
            && (has(&alerts) || has(&["handshake failure", "client SSL authentication"]))
        {
            return Self::ClientCertificate;
        }
        let guesses = ["PLAINTEXT broker listener?", "SSL listener?", "might require SASL authentication"];
        if has(&guesses) || (has(&["Disconnected", "Send failed: Broken pipe"]) && hung_up_early(state)) {
            Self::PerhapsProtocol
        } else {
            Self::Other
        }
    }

    /// Whether it only ends when the settings or the broker are changed.
    fn is_lasting(self) -> bool {
        matches!(self, Self::Credentials | Self::BrokerCertificate | Self::ClientCertificate | Self::Protocol)
    }

    /// What happened and what to do, as a sentence that follows the broker's name.
    fn sentence(self, advertised: bool) -> Option<&'static str> {
        Some(match self {
            Self::Credentials => {
                "it does not accept the credentials: check `sasl.username`, `sasl.password` and `sasl.mechanism` in \
                 `kafka.properties`"
            }
            Self::BrokerCertificate => {
                "its certificate is not trusted: it must be signed by an authority in the file that `ssl.ca.location` in \
                 `kafka.properties` names, be in date, and be made for the host name that is connected to"
            }
            Self::ClientCertificate => {
                "it does not accept this client's certificate: check `ssl.certificate.location` and `ssl.key.location` in \
                 `kafka.properties`, and that the broker's truststore has its authority"
            }
            Self::Protocol => {
                "its listener speaks another protocol than `security.protocol` in `kafka.properties` says: correct that, or \
                 use the port of another listener"
            }
            Self::PerhapsProtocol => {
                "it hangs up, as a listener does that speaks another protocol than `security.protocol` in \
                 `kafka.properties` says: correct that, or use the port of another listener"
            }
            Self::Name if advertised => {
                "the cluster sends its clients there (`advertised.listeners` of the broker), and the name can't be resolved \
                 here: correct it on the broker, or make the name known to this machine"
            }
            Self::Name => "the name can't be resolved: check `kafka.bootstrap_servers`, and this machine's DNS",
            Self::Other => return None,
        })
    }
}

/// Whether a connection ended before the first request or right after it. That is how the handshake of another protocol
/// fails, and a request without the login that the listener requires.
fn hung_up_early(state: &str) -> bool {
    let up_for = state.split_once("ms in state UP").and_then(|(millis, _)| millis.parse::<u64>().ok());
    up_for.is_some_and(|millis| millis < 2_000)
        || ["SSL_HANDSHAKE", "APIVERSION_QUERY", "AUTH_"].iter().any(|early| state.contains(early))
}

/// A cause, and since when it has been the only one.
#[derive(Debug, Clone)]
struct Reason {
    kind: Kind,
    text: String,
    since: Instant,
    heard: Instant,
}

impl Reason {
    fn holds(&self) -> bool {
        self.heard.elapsed() < HOLDS_FOR
    }
}

/// What the callbacks reported about one broker.
#[derive(Debug, Default)]
struct Heard {
    address: String,
    /// The broker is not in `kafka.bootstrap_servers`; the cluster named it.
    advertised: bool,
    /// The last cause that can't pass by itself. It outlives other causes, since a host with several addresses may
    /// merely refuse at one of them.
    lasting: Option<Reason>,
    latest: Option<Reason>,
}

impl Heard {
    fn is_lasting(&self) -> bool {
        // guard: a broker that hangs up for a moment is waited for
        let guessed = |reason: &Reason| {
            reason.kind == Kind::PerhapsProtocol && reason.holds() && reason.since.elapsed() >= BELIEVED_AFTER
        };
        self.lasting.as_ref().is_some_and(Reason::holds) || self.latest.as_ref().is_some_and(guessed)
    }

    fn reason(&self) -> Option<&Reason> {
        self.lasting.as_ref().filter(|reason| reason.holds()).or(self.latest.as_ref().filter(|reason| reason.holds()))
    }

    fn said(&self) -> Option<(bool, String)> {
        let Reason { kind, text, .. } = self.reason()?;
        let known = kind.sentence(self.advertised);
        let said = match known {
            Some(sentence) => format!("{}: {sentence} ({text})", self.address),
            None => format!("{}: {text}", self.address),
        };
        Some((known.is_some(), said))
    }
}

#[derive(Debug, Default)]
struct Record {
    brokers: BTreeMap<String, Heard>,
    /// No broker that was tried could be reached.
    all_down: bool,
    /// The client starts with brokers that the cluster named.
    advertised: bool,
    /// A call was answered once, so the settings are right, and a broker that hangs up is in trouble.
    answered: bool,
}

/// What one client's callbacks reported last. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reasons(Arc<Mutex<Record>>);

impl Reasons {
    /// Handles the error callback.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.record().all_down = true;
        } else {
            self.hear(reason);
        }
    }

    /// Handles the log callback. Only the log reports connections that a broker closed.
    pub(crate) fn log(&self, facility: &str, message: &str) {
        if facility == "FAIL" {
            // The message begins with the thread's name, which contains the broker's.
            self.hear(message.split_once("]: ").map_or(message, |(_, message)| message));
        }
    }

    /// Records that a call was answered, so a broker can be reached. The causes stay for a while, since librdkafka does
    /// not repeat them.
    pub(crate) fn answered(&self) {
        let mut record = self.record();
        record.all_down = false;
        record.answered = true;
    }

    /// Whether some cause is more specific than a refused or cut connection.
    pub(crate) fn are_understood(&self) -> bool {
        self.record().brokers.values().filter_map(Heard::reason).any(|reason| reason.kind != Kind::Other)
    }

    /// Adds the causes to a fault, and decides whether it can pass by itself.
    pub(crate) fn explain(&self, fault: KafkaFault) -> KafkaFault {
        match fault {
            KafkaFault::Passing { what, why } => match self.said() {
                Some(said) if self.is_lasting() => KafkaFault::NoConnection { what, why: said },
                Some(said) => KafkaFault::Passing { what, why: format!("{why}. {said}") },
                None => KafkaFault::Passing { what, why },
            },
            KafkaFault::NoConnection { what, why } => match self.said() {
                // One broker failed for a lasting cause; others may still be reachable.
                Some(said) if !self.is_lasting() => KafkaFault::Passing { what, why: said },
                said => KafkaFault::NoConnection { what, why: said.unwrap_or(why) },
            },
            other => other,
        }
    }

    /// Whether no connection is possible until somebody changes something.
    pub(crate) fn is_lasting(&self) -> bool {
        let record = self.record();
        // guard: one broker with a bad certificate ends nothing
        record.all_down && !record.brokers.is_empty() && record.brokers.values().all(Heard::is_lasting)
    }

    /// The lasting causes as a fault, if no connection is possible.
    pub(crate) fn lasting(&self, what: &'static str) -> Option<KafkaFault> {
        let why = self.is_lasting().then(|| self.said())??;
        Some(KafkaFault::NoConnection { what, why })
    }

    /// The causes as one or more sentences, specific ones first.
    pub(crate) fn said(&self) -> Option<String> {
        let record = self.record();
        let (known, others): (Vec<_>, Vec<_>) =
            record.brokers.values().filter_map(Heard::said).partition(|(known, _)| *known);
        let mut all: Vec<String> = Vec::new();
        for (_, said) in known.into_iter().chain(others) {
            if all.len() < MOST_SAID && !all.contains(&said) {
                all.push(said);
            }
        }
        (!all.is_empty()).then(|| all.join(". "))
    }

    fn hear(&self, message: &str) {
        let Some((broker, text)) = message.split_once(": ") else { return };
        // A coordinator is named by its role, followed by its address.
        let (broker, text) = match text.split_once(": ") {
            Some((address, text)) if !broker.contains(':') && !address.contains(' ') => (address, text),
            _ => (broker, text),
        };
        // A message without a broker's address is about something else.
        if !broker.contains(':') {
            return;
        }
        let (text, state) = text.split_once(" (after ").unwrap_or((text, ""));
        let (text, kind, now) = (bounded(text), Kind::of(text, state), Instant::now());
        let mut record = self.record();
        let kind = if record.answered && kind == Kind::PerhapsProtocol { Kind::Other } else { kind };
        if record.brokers.len() >= MOST_BROKERS && !record.brokers.contains_key(broker) {
            return;
        }
        let advertised = record.advertised;
        let heard = record.brokers.entry(broker.to_owned()).or_default();
        heard.advertised = advertised || !broker.ends_with("/bootstrap");
        heard.address = address(broker);
        let since = match &heard.latest {
            Some(latest) if latest.kind == kind && latest.holds() => latest.since,
            _ => now,
        };
        let reason = Reason { kind, text, since, heard: now };
        if kind.is_lasting() {
            heard.lasting = Some(reason.clone());
        }
        heard.latest = Some(reason);
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // No code panics between two related changes, so a poisoned lock is still consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Extracts the address from a name such as `sasl_ssl://host:9093/bootstrap`.
fn address(broker: &str) -> String {
    let address = broker.split_once("://").map_or(broker, |(_, address)| address);
    address.split('/').next().unwrap_or(address).to_owned()
}

/// Puts a text on one line and limits its length.
fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

/// The context of clients that need no other.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) reasons: Reasons,
}

impl Watch {
    /// The context of a client that starts with the brokers that the cluster named, instead of
    /// `kafka.bootstrap_servers`.
    pub(crate) fn of_advertised() -> Self {
        let record = Record { advertised: true, ..Record::default() };
        Self { reasons: Reasons(Arc::new(Mutex::new(record))) }
    }
}

impl ClientContext for Watch {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(code = ?error.rdkafka_error_code(), "a client's connection");
        self.reasons.error(&error, reason);
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::trace!(facility, "librdkafka");
        self.reasons.log(facility, message);
    }
}

impl ConsumerContext for Watch {}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: &str = "1/1 brokers are down";

    fn failed(reasons: &Reasons, message: &str) {
        reasons.error(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), message);
    }

    fn all_down(reasons: &Reasons) {
        reasons.error(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), DOWN);
    }

    fn passing() -> KafkaFault {
        KafkaFault::Passing { what: "asking", why: "timed out".to_owned() }
    }

    #[test]
    fn librdkafkas_words_are_understood() {
        for (text, state, kind) in [
            ("SASL authentication error: Authentication failed: Invalid username or password", "", Kind::Credentials),
            (
                "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: \
              SCRAM-SHA-512",
                "",
                Kind::Credentials,
            ),
            (
                "SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported \
              mechanisms: ",
                "",
                Kind::Protocol,
            ),
            (
                "SASL authentication error: SaslAuthenticateRequest failed: Local: Broker transport failure",
                "",
                Kind::Other,
            ),
            (
                "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not \
              be verified, verify that ssl.ca.location is correctly configured or root CA certificates are installed",
                "",
                Kind::BrokerCertificate,
            ),
            ("SSL handshake failed: error:0A00010B:SSL routines::wrong version number", "", Kind::Protocol),
            (
                "Receive failed: Invalid response size 352518912 (0..100000000): increase receive.message.max.bytes",
                "",
                Kind::Protocol,
            ),
            ("ssl/tls alert certificate required: SSL alert number 116", "", Kind::ClientCertificate),
            (
                "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
                "",
                Kind::PerhapsProtocol,
            ),
            ("Disconnected: connection reset by peer", "1ms in state SSL_HANDSHAKE", Kind::PerhapsProtocol),
            ("Disconnected: connection reset by peer", "1ms in state APIVERSION_QUERY", Kind::PerhapsProtocol),
            ("Disconnected: connection closed by peer", "12ms in state UP", Kind::PerhapsProtocol),
            ("Disconnected: connection closed by peer", "600012ms in state UP", Kind::Other),
            ("Failed to resolve 'kafka:9092': Name or service not known", "", Kind::Name),
            ("Connect to ipv4#127.0.0.1:9092 failed: Connection refused", "0ms in state CONNECT", Kind::Other),
        ] {
            assert_eq!(Kind::of(text, state), kind, "{text} ({state})");
        }
    }

    #[test]
    fn a_broker_is_named_by_its_address_in_the_callbacks_and_in_the_log_whatever_it_speaks() {
        for (logged, message) in [
            (
                false,
                "sasl_ssl://kafka:9093/bootstrap: Failed to resolve 'kafka:9093': no such host (after 1ms in state CONNECT)",
            ),
            (true, "[thrd:kafka:9093/bootstrap]: kafka:9093/bootstrap: Failed to resolve 'kafka:9093': no such host"),
            (true, "[thrd:TxnCoordinator]: TxnCoordinator: kafka:9093: Failed to resolve 'kafka:9093': no such host"),
        ] {
            let reasons = Reasons::default();
            if logged {
                reasons.log("FAIL", message)
            } else {
                failed(&reasons, message)
            };
            let said = reasons.said().unwrap();
            assert!(
                said.starts_with("kafka:9093: ") && said.ends_with("(Failed to resolve 'kafka:9093': no such host)"),
                "{said}"
            );
        }
        let reasons = Reasons::default();
        failed(&reasons, "[::1]:9092/bootstrap: Connect to ipv6#[::1]:9092 failed: Connection refused");
        assert_eq!(reasons.said().unwrap(), "[::1]:9092: Connect to ipv6#[::1]:9092 failed: Connection refused");
    }

    #[test]
    fn a_wrong_password_ends_the_waiting_once_no_broker_can_be_reached() {
        let reasons = Reasons::default();
        failed(
            &reasons,
            "sasl_plaintext://one:9092/bootstrap: SASL authentication error: Invalid username or password",
        );
        // Two more brokers have not been tried.
        assert!(matches!(reasons.explain(passing()), KafkaFault::Passing { .. }));
        all_down(&reasons);
        let fault = reasons.explain(passing());
        assert!(fault.ends_a_command() && fault.to_string().contains("one:9092: it does not accept the credentials"));
        // Now they are tried, and one of them is merely away.
        failed(
            &reasons,
            "sasl_plaintext://two:9092/bootstrap: Connect to ipv4#10.0.0.2:9092 failed: Connection refused",
        );
        let fault = reasons.explain(passing());
        assert!(!fault.ends_a_command() && fault.to_string().contains("it does not accept the credentials"));
    }

    #[test]
    fn a_broker_that_answers_again_is_not_given_up() {
        let reasons = Reasons::default();
        failed(&reasons, "ssl://one:9092/bootstrap: SSL handshake failed: certificate verify failed");
        all_down(&reasons);
        assert!(reasons.is_lasting());
        reasons.answered();
        assert!(!reasons.is_lasting());
    }

    #[test]
    fn a_broker_that_hangs_up_after_it_was_reached_is_not_said_to_speak_another_protocol() {
        let reasons = Reasons::default();
        let hangs_up =
            "sasl_ssl://one:9092/1: Disconnected: connection reset by peer (after 3ms in state APIVERSION_QUERY)";
        failed(&reasons, hangs_up);
        assert!(reasons.said().unwrap().contains("another protocol"));
        reasons.answered();
        failed(&reasons, hangs_up);
        assert_eq!(reasons.said().unwrap(), "one:9092: Disconnected: connection reset by peer");
    }

    #[test]
    fn a_broker_that_hangs_up_for_a_moment_restarts() {
        let reasons = Reasons::default();
        failed(
            &reasons,
            "ssl://one:9092/1: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
        );
        all_down(&reasons);
        assert!(!reasons.is_lasting());
        let later = |reasons: &Reasons| {
            for heard in reasons.record().brokers.values_mut() {
                let latest = heard.latest.as_mut().unwrap();
                latest.since = latest.since.checked_sub(BELIEVED_AFTER).unwrap();
            }
        };
        later(&reasons);
        assert!(reasons.is_lasting());
        failed(&reasons, "ssl://one:9092/1: Connect to ipv4#10.0.0.1:9092 failed: Connection refused");
        later(&reasons);
        assert!(!reasons.is_lasting());
    }
}
