//! A secured broker. It has a listener for each way in which companies secure theirs, and for each way in which a
//! client gets it wrong. The tests themselves use an open listener, as a user who may do everything.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::kafka::{self, Kafka};
use super::{certificates, port, services};

/// A user of the program: `User:shop` to the broker, `User:CN=shop` where a certificate names it.
pub const USER: &str = "shop";
/// The password of [`USER`]. Appears in no output of the program.
pub const PASSWORD: &str = "canary-3fA9-password";
/// How many users there are beside [`USER`], with its password, at [`Door::Plain`]: see [`limited`].
pub const LIMITED: usize = 16;
/// What opens the client's private key. Appears in no output of the program.
pub const KEY_PASSWORD: &str = "canary-7bC2-key";

/// Where the program comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Without any security.
    Open,
    /// SASL/PLAIN without encryption.
    Plain,
    /// SCRAM-SHA-512 over TLS.
    Scram,
    /// SASL/OAUTHBEARER with tokens that nobody has signed, over TLS.
    OAuth,
    /// TLS with a client's certificate and an encrypted private key.
    MutualTls,
    /// TLS without a client's certificate; the broker's own has expired.
    Expired,
    /// Without any security, and the broker sends its clients on to a host that nobody knows.
    Unresolved,
}

const DOORS: [(Door, &str, &str); 7] = [
    (Door::Open, "PLAINTEXT", "PLAINTEXT"),
    (Door::Plain, "PLAIN", "SASL_PLAINTEXT"),
    (Door::Scram, "SCRAM", "SASL_SSL"),
    (Door::OAuth, "OAUTH", "SASL_SSL"),
    (Door::MutualTls, "MUTUAL", "SSL"),
    (Door::Expired, "EXPIRED", "SSL"),
    (Door::Unresolved, "UNRESOLVED", "PLAINTEXT"),
];
/// The host to which [`Door::Unresolved`] sends.
pub const UNRESOLVED: &str = "no-such-host.invalid";

/// Whoever comes in through the open door may do anything: the broker itself, its controller and the tests.
const AUTHORIZER: &[(&str, &str)] = &[
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("super.users", "User:ANONYMOUS"),
];

/// The secured broker that tests share: whoever knows the password, or has the certificate, may do anything.
pub fn secured() -> &'static Secured {
    static SHARED: LazyLock<Secured> = LazyLock::new(|| Secured::start(&[]));
    &SHARED
}

/// The one that tests share whose users may do what they were explicitly allowed to, and nothing else: see
/// [`Kafka::acl`].
pub fn guarded() -> &'static Secured {
    static SHARED: LazyLock<Secured> = LazyLock::new(|| Secured::start(AUTHORIZER));
    &SHARED
}

/// A user for a test to allow this and that to.
pub fn limited(number: usize) -> String {
    assert!(number < LIMITED, "there are no more of them");
    format!("limited{number}")
}

/// A running broker with all the doors.
pub struct Secured {
    /// As the tests reach it.
    pub kafka: Kafka,
    pub certificates: Certificates,
    ports: [(Door, u16); DOORS.len()],
}

impl Secured {
    /// Starts a broker with all doors, with `properties` added to the usual ones or in their place.
    pub fn start(properties: &[(&str, &str)]) -> Self {
        let directory = services::run_dir("kafka-secured");
        let certificates = Certificates::make(&directory);
        let ports = DOORS.map(|(door, _, _)| (door, port::free()));
        let all = broker_properties(&ports, &certificates);
        let all = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(properties.iter().copied());
        kafka::configure(&directory, ports[0].1, &all.collect::<Vec<_>>());
        let scram = format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]");
        kafka::format(&directory, &["--add-scram".to_owned(), scram]);
        Self { kafka: Kafka::start_in(directory, ports[0].1), certificates, ports }
    }

    /// What the program connects to.
    pub fn address(&self, door: Door) -> String {
        let (_, port) = self.ports.iter().find(|(other, _)| *other == door).expect("each door has a port");
        format!("127.0.0.1:{port}")
    }

    /// Variables with which the program passes `door` as [`USER`].
    pub fn variables(&self, door: Door) -> Vec<(String, String)> {
        let ca = || ("SSL_CA_LOCATION", path(&self.certificates.authority));
        let sasl = |protocol: &str, mechanism: &str| {
            vec![
                ("SECURITY_PROTOCOL", protocol.to_owned()),
                ("SASL_MECHANISM", mechanism.to_owned()),
                ("SASL_USERNAME", USER.to_owned()),
                ("SASL_PASSWORD", PASSWORD.to_owned()),
            ]
        };
        let tls = || vec![("SECURITY_PROTOCOL", "SSL".to_owned()), ca()];
        let properties = match door {
            Door::Open | Door::Unresolved => Vec::new(),
            Door::Plain => sasl("SASL_PLAINTEXT", "PLAIN"),
            Door::Scram => [sasl("SASL_SSL", "SCRAM-SHA-512"), vec![ca()]].concat(),
            Door::OAuth => vec![
                ("SECURITY_PROTOCOL", "SASL_SSL".to_owned()),
                ("SASL_MECHANISM", "OAUTHBEARER".to_owned()),
                ("ENABLE_SASL_OAUTHBEARER_UNSECURE_JWT", "true".to_owned()),
                ("SASL_OAUTHBEARER_CONFIG", format!("principal={USER} lifeSeconds=3600")),
                ca(),
            ],
            Door::MutualTls => {
                let own = [
                    ("SSL_CERTIFICATE_LOCATION", path(&self.certificates.client)),
                    ("SSL_KEY_LOCATION", path(&self.certificates.client_key)),
                    ("SSL_KEY_PASSWORD", KEY_PASSWORD.to_owned()),
                ];
                tls().into_iter().chain(own).collect()
            }
            Door::Expired => tls(),
        };
        let properties = properties.into_iter().map(|(name, value)| (property(name), value));
        [("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS".to_owned(), self.address(door))].into_iter().chain(properties).collect()
    }
}

/// The variable of a property of librdkafka, its name in capitals and with `_` for each dot.
pub fn property(name: &str) -> String {
    format!("IMOTRIZ_KAFKA__PROPERTIES__{name}")
}

fn broker_properties(ports: &[(Door, u16)], certificates: &Certificates) -> Vec<(String, String)> {
    let each = |show: &dyn Fn(Door, &str, u16) -> String| {
        let all = ports.iter().zip(DOORS).map(|((door, port), (_, name, _))| show(*door, name, *port));
        all.collect::<Vec<_>>().join(",")
    };
    let controller = port::free();
    let advertised = |door, name: &str, port| match door {
        Door::Unresolved => format!("{name}://{UNRESOLVED}:{port}"),
        _ => format!("{name}://127.0.0.1:{port}"),
    };
    let protocols = DOORS.map(|(_, name, protocol)| format!("{name}:{protocol}")).join(",");
    let login = |class: &str, options: &str| format!("org.apache.kafka.common.security.{class} required{options};");
    [
        (
            "listeners",
            each(&|_, name, port| format!("{name}://127.0.0.1:{port}"))
                + &format!(",CONTROLLER://127.0.0.1:{controller}"),
        ),
        ("advertised.listeners", each(&advertised)),
        ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
        ("listener.security.protocol.map", protocols + ",CONTROLLER:PLAINTEXT"),
        ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
        ("listener.name.plain.sasl.enabled.mechanisms", "PLAIN".to_owned()),
        (
            "listener.name.plain.plain.sasl.jaas.config",
            login(
                "plain.PlainLoginModule",
                &(0..LIMITED)
                    .map(limited)
                    .chain([USER.to_owned()])
                    .map(|user| format!(" user_{user}=\"{PASSWORD}\""))
                    .collect::<String>(),
            ),
        ),
        ("listener.name.scram.sasl.enabled.mechanisms", "SCRAM-SHA-512".to_owned()),
        ("listener.name.scram.scram-sha-512.sasl.jaas.config", login("scram.ScramLoginModule", "")),
        ("listener.name.oauth.sasl.enabled.mechanisms", "OAUTHBEARER".to_owned()),
        (
            "listener.name.oauth.oauthbearer.sasl.jaas.config",
            login("oauthbearer.OAuthBearerLoginModule", " unsecuredLoginStringClaim_sub=\"broker\""),
        ),
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", path(&certificates.broker)),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.location", path(&certificates.authority)),
        ("listener.name.mutual.ssl.client.auth", "required".to_owned()),
        ("listener.name.expired.ssl.keystore.type", "PEM".to_owned()),
        ("listener.name.expired.ssl.keystore.location", path(&certificates.expired)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

/// What OpenSSL made for one broker: all of it signed by an authority of its own.
pub struct Certificates {
    /// Whom all the rest is signed by.
    pub authority: PathBuf,
    /// Another authority, who has signed nothing here.
    pub stranger: PathBuf,
    /// The client's certificate, for [`USER`].
    pub client: PathBuf,
    /// The client's private key, which [`KEY_PASSWORD`] opens.
    pub client_key: PathBuf,
    /// The broker's private key and certificate, valid for the address `127.0.0.1` and no name.
    broker: PathBuf,
    /// The same, and no longer valid.
    expired: PathBuf,
}

/// Who signs the broker's and the client's certificates.
const AUTHORITY: &str = "authority";

impl Certificates {
    fn make(directory: &Path) -> Self {
        let authority = certificates::make_authority(directory, AUTHORITY);
        let stranger = certificates::make_authority(directory, "stranger");
        let keystore = |name: &str, days: &str| {
            let (key, certificate) = certificates::sign(directory, AUTHORITY, name, "IP:127.0.0.1", days);
            let keystore = directory.join(format!("{name}.keystore.pem"));
            fs::write(&keystore, [fs::read(key).unwrap(), fs::read(certificate).unwrap()].concat()).unwrap();
            keystore
        };
        let (broker, expired) = (keystore("broker", "2"), keystore("expired", "-1"));
        let (open_key, client) = certificates::sign(directory, AUTHORITY, USER, "IP:127.0.0.1", "2");
        let client_key = directory.join("client.encrypted.key");
        certificates::openssl(
            &["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", &format!("pass:{KEY_PASSWORD}")],
            |command| command.arg("-in").arg(&open_key).arg("-out").arg(&client_key),
        );
        fs::remove_file(open_key).unwrap();
        Self { authority, stranger, client, client_key, broker, expired }
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
