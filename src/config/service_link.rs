//! Recognises the variables that Kubernetes sets in every pod of a namespace for each Service, unless
//! `enableServiceLinks` is false. If a Service's name begins with `imotriz`, its variables look like settings of this
//! program.
//!
//! For a Service `imotriz` with the port 9464, called `metrics`:
//!
//! | variable | value |
//! |---|---|
//! | `IMOTRIZ_SERVICE_HOST` | `10.0.0.1` |
//! | `IMOTRIZ_SERVICE_PORT`, `IMOTRIZ_SERVICE_PORT_METRICS` | `9464` |
//! | `IMOTRIZ_PORT`, `IMOTRIZ_PORT_9464_TCP` | `tcp://10.0.0.1:9464` |
//! | `IMOTRIZ_PORT_9464_TCP_PROTO`, `…_PORT`, `…_ADDR` | `tcp`, `9464`, `10.0.0.1` |

use std::net::IpAddr;

/// Whether Kubernetes set this variable. A Service `a--b` becomes `A__B`, and two underscores make a setting. So such a
/// name must also have a value of the right kind, or a mistyped setting would be ignored.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    kind_of(name).is_some_and(|kind| !name.contains("__") || kind.fits(value))
}

/// The kind of value of such a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Port,
    Protocol,
    Address,
}

impl Kind {
    fn fits(self, value: &str) -> bool {
        match self {
            Self::Host => value.parse::<IpAddr>().is_ok(),
            Self::Port => is_number(value),
            Self::Protocol => PROTOCOLS.contains(&&*value.to_uppercase()),
            Self::Address => PROTOCOLS.iter().any(|protocol| {
                let rest = value.strip_prefix(&*protocol.to_lowercase());
                rest.is_some_and(|rest| rest.starts_with("://"))
            }),
        }
    }
}

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

fn kind_of(name: &str) -> Option<Kind> {
    if name.ends_with("_SERVICE_HOST") {
        return Some(Kind::Host);
    }
    // The port's name comes last, and is arbitrary.
    if name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return Some(Kind::Port);
    }
    of_a_port(name).or_else(|| name.ends_with("_PORT").then_some(Kind::Address))
}

/// `…_PORT_9464_TCP`, or one of the three variables for its parts.
fn of_a_port(name: &str) -> Option<Kind> {
    let parts = [("_PROTO", Kind::Protocol), ("_PORT", Kind::Port), ("_ADDR", Kind::Host)];
    let part = parts.iter().find_map(|(suffix, kind)| Some((name.strip_suffix(suffix)?, *kind)));
    let (port, kind) = part.filter(|(port, _)| is_port(port)).unwrap_or((name, Kind::Address));
    is_port(port).then_some(kind)
}

fn is_port(name: &str) -> bool {
    let Some((name, protocol)) = name.rsplit_once('_') else { return false };
    let number = name.rsplit_once("_PORT_").map(|(_, number)| number);
    PROTOCOLS.contains(&protocol) && number.is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All variables that Kubernetes sets for a Service with two ports.
    fn family(service: &str) -> Vec<(String, String)> {
        let prefix = service.to_uppercase().replace('-', "_");
        let mut all = vec![
            ("_SERVICE_HOST".to_owned(), "fd00::7".to_owned()),
            ("_SERVICE_PORT".to_owned(), "9464".to_owned()),
            ("_SERVICE_PORT_METRICS_AND_HEALTH".to_owned(), "9464".to_owned()),
            ("_PORT".to_owned(), "tcp://[fd00::7]:9464".to_owned()),
        ];
        for protocol in ["tcp", "udp", "sctp"] {
            let port = format!("_PORT_9464_{}", protocol.to_uppercase());
            all.push((port.clone(), format!("{protocol}://[fd00::7]:9464")));
            all.push((format!("{port}_PROTO"), protocol.to_owned()));
            all.push((format!("{port}_PORT"), "9464".to_owned()));
            all.push((format!("{port}_ADDR"), "fd00::7".to_owned()));
        }
        all.into_iter().map(|(suffix, value)| (format!("{prefix}{suffix}"), value)).collect()
    }

    #[test]
    fn all_that_kubernetes_sets_for_a_service_of_any_name_is_known() {
        for service in ["imotriz", "imotriz-kafka", "imotriz-kafka-metrics", "imotriz-bogota", "imotriz--kafka--x"] {
            for (name, value) in family(service) {
                assert!(is_service_link(&name, &value), "{name}={value}");
            }
        }
    }

    #[test]
    fn settings_and_mistyped_ones_are_none() {
        for name in [
            "IMOTRIZ_KAFKA__BOOTSTRAP_SERVER",
            "IMOTRIZ_KAFAK__LANES",
            "IMOTRIZ_KAFKA_LANES",
            "IMOTRIZ_PORTS",
            "IMOTRIZ_SERVICE_HOSTS",
            "IMOTRIZ_PORT_TCP",
            "IMOTRIZ_PORT_X_TCP",
            "IMOTRIZ_PORT_99999_TCP",
            "IMOTRIZ_PORT_9464_TCP_NAME",
            "IMOTRIZ_PORT_9464_HTTP",
        ] {
            assert!(!is_service_link(name, "10.0.0.1"), "{name}");
        }
        for (name, value) in [
            ("IMOTRIZ_ADMIN__PORT", "9464"),
            ("IMOTRIZ_ADMIN__LISTEN_PORT", "9464"),
            ("IMOTRIZ_KAFKA__SERVICE_HOST", "kafka"),
            ("IMOTRIZ_KAFKA__SERVICE_PORT", "kafka:9092"),
        ] {
            assert!(!is_service_link(name, value), "{name}={value}");
        }
    }
}
