//! Why connections fail.
//!
//! librdkafka tells it to a client's error callback and log alone: the call that needed the connection ends with a
//! time-out or a "transport failure". So each client of this program keeps what its callbacks were told last, for as
//! long as it may still hold, and every error says it.
//!
//! Some of it can't pass by itself: wrong credentials, a certificate that nobody trusts, a listener that speaks another
//! protocol. That is said of a client only when no broker at all could be reached and each of those that were tried
//! failed so. A connection that is merely refused is a broker that restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaFault;

/// librdkafka repeats a reason that still holds every 30 seconds and is silent about it in between.
const HOLDS_FOR: Duration = Duration::from_secs(60);
/// How long a broker has to fail in the same way before a guess of librdkafka's at the reason is believed: one that is
/// killed in the middle of a handshake looks the same for a moment.
const BELIEVED_AFTER: Duration = Duration::from_secs(5);
/// Brokers of which a reason is kept.
const MOST_BROKERS: usize = 16;
/// Brokers of which a reason is said.
const MOST_SAID: usize = 3;
/// A broker's own words can be long.
const LONGEST: usize = 300;

/// What kind of reason it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The broker knows no such user, another password, or another mechanism.
    Credentials,
    /// The broker's certificate is not signed by an authority that is trusted, has expired, or is another host's.
    BrokerCertificate,
    /// The broker wants a certificate of the client, or another one.
    ClientCertificate,
    /// The listener speaks another protocol.
    Protocol,
    /// The listener may speak another protocol: it hangs up, which a broker in trouble does as well.
    PerhapsProtocol,
    /// A host name that can't be resolved.
    Name,
    /// Refused, cut, timed out: may pass by itself.
    Other,
}

impl Kind {
    fn of(text: &str) -> Self {
        let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        if has(&["Failed to resolve"]) {
            return Self::Name;
        }
        // The request on the way, not the answer to it.
        if has(&["Request failed: Local:", "handshake failed: Local:", "parsing failed: Local:"]) {
            return Self::Other;
        }
        if has(&["not valid in current SASL state", "wrong version number", "Invalid response size"]) {
            return Self::Protocol;
        }
        if has(&["SASL authentication error", "SASL authentication failure", "Failed to initialize SASL"])
            || (has(&["mechanism handshake failed"]))
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
        if has(&guesses) { Self::PerhapsProtocol } else { Self::Other }
    }

    /// Whether nothing but a change to the settings or on the broker helps.
    fn is_lasting(self) -> bool {
        matches!(self, Self::Credentials | Self::BrokerCertificate | Self::ClientCertificate | Self::Protocol)
    }

    /// What happened and what to do, about a broker that is named before it.
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

/// A reason, and since when nothing else was heard.
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

/// What was heard of one broker.
#[derive(Debug, Default)]
struct Heard {
    address: String,
    /// Not one of `kafka.bootstrap_servers`, but one that the cluster named.
    advertised: bool,
    /// A host has several addresses, and may refuse at one of them: what can't pass is not forgotten for that.
    lasting: Option<Reason>,
    latest: Option<Reason>,
}

impl Heard {
    fn is_lasting(&self) -> bool {
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
}

/// What one client's callbacks were told last. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reasons(Arc<Mutex<Record>>);

impl Reasons {
    /// For the error callback.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.record().all_down = true;
        } else {
            self.hear(reason);
        }
    }

    /// For the log. Connections that a broker closed are found here alone.
    pub(crate) fn log(&self, facility: &str, message: &str) {
        if facility == "FAIL" {
            // It begins with the thread, which has the broker's name.
            self.hear(message.split_once("]: ").map_or(message, |(_, message)| message));
        }
    }

    /// A call was answered: what went wrong before is over.
    pub(crate) fn clear(&self) {
        *self.record() = Record::default();
    }

    /// The fault with the reasons, and as what it is: one that passes, or one that doesn't.
    pub(crate) fn explain(&self, fault: KafkaFault) -> KafkaFault {
        match fault {
            KafkaFault::Passing { what, why } => match self.said() {
                Some(said) if self.is_lasting() => KafkaFault::NoConnection { what, why: said },
                Some(said) => KafkaFault::Passing { what, why: format!("{why}. {said}") },
                None => KafkaFault::Passing { what, why },
            },
            KafkaFault::NoConnection { what, why } => match self.said() {
                // One broker said so; others may do.
                Some(said) if !self.is_lasting() => KafkaFault::Passing { what, why: said },
                said => KafkaFault::NoConnection { what, why: said.unwrap_or(why) },
            },
            other => other,
        }
    }

    /// Whether no connection can come to be before somebody has changed something.
    pub(crate) fn is_lasting(&self) -> bool {
        let record = self.record();
        record.all_down && !record.brokers.is_empty() && record.brokers.values().all(Heard::is_lasting)
    }

    /// The same as a fault.
    pub(crate) fn lasting(&self, what: &'static str) -> Option<KafkaFault> {
        let why = self.is_lasting().then(|| self.said())??;
        Some(KafkaFault::NoConnection { what, why })
    }

    /// The reasons in a sentence or several: those that are understood before the others.
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

    /// The brokers that were connected to are those that the cluster names.
    pub(crate) fn are_of_advertised(&self) {
        self.record().brokers.values_mut().for_each(|heard| heard.advertised = true);
    }

    fn hear(&self, message: &str) {
        let Some((broker, text)) = message.split_once(": ") else { return };
        // A coordinator is named by its role; its address follows.
        let (broker, text) = match text.split_once(": ") {
            Some((address, text)) if !broker.contains("://") && !address.contains(' ') => (address, text),
            _ => (broker, text),
        };
        let text = bounded(text.split(" (after ").next().unwrap_or(text));
        let (kind, now) = (Kind::of(&text), Instant::now());
        let mut record = self.record();
        if record.brokers.len() >= MOST_BROKERS && !record.brokers.contains_key(broker) {
            return;
        }
        let heard = record.brokers.entry(broker.to_owned()).or_default();
        heard.advertised = !broker.ends_with("/bootstrap");
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
        // A panic elsewhere can't leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `sasl_ssl://host:9093/bootstrap` without what stands around the address.
fn address(broker: &str) -> String {
    let address = broker.split_once("://").map_or(broker, |(_, address)| address);
    address.split('/').next().unwrap_or(address).to_owned()
}

/// In one line that is not too long.
fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

/// The context of a client that has no other one.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// What it was told.
    pub(crate) reasons: Reasons,
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
