//! What a user may write, and the messages for what can't be used.

use std::fs;

use secrecy::ExposeSecret;

use super::*;

mod folder;

const STORE: &str = "[stores.bogota]\ncountry = \"CO\"\ntoken = \"s3cret\"\n";

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Loads settings from a file, the environment and the command line; cuts the file's folder off in messages.
fn load(toml: &str, env: &[(&str, &str)], overrides: &[(&str, String)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    fs::write(&path, toml).unwrap();
    Config::load(Some(&path), variables(env), overrides).map_err(|error| {
        let prefix = format!("{}/", folder.path().display());
        error.to_string().replace(&prefix, "")
    })
}

fn bogota(config: &Config) -> &Store {
    &config.stores[&"bogota".parse().unwrap()]
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default() {
    let name = "kafka.bootstrap_servers";
    let (file, env) = ("[kafka]\nbootstrap_servers = \"file:1\"", ("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", "env:1"));
    let servers = |toml, env: &[_], overrides: &[_]| load(toml, env, overrides).unwrap().kafka.bootstrap_servers;
    assert_eq!(servers("", &[], &[]), "localhost:9092");
    assert_eq!(servers(file, &[], &[]), "file:1");
    assert_eq!(servers(file, &[env], &[]), "env:1");
    assert_eq!(servers(file, &[env], &[(name, "cli:1".to_owned())]), "cli:1");
}

#[test]
fn everything_can_be_set_by_the_environment_alone() {
    let config = Config::from_environment(variables(&[
        ("IMOTRIZ_KAFKA__CREATE_TOPICS", "false"),
        ("IMOTRIZ_KAFKA__LANES", "12"),
        ("IMOTRIZ_KAFKA__REPLICATION_FACTOR", "3"),
        ("IMOTRIZ_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL"),
        ("IMOTRIZ_KAFKA__TOPICS__ORDERS", "orders"),
        ("IMOTRIZ_SCHEMA_REGISTRY__URL", "http://registry:8081"),
        ("IMOTRIZ_SPOOL__DIR", "/var/spool"),
        ("IMOTRIZ_SPOOL__PAGE_SPACE", "1MiB"),
        ("IMOTRIZ_ADMIN__LISTEN", "[::]:0"),
        ("IMOTRIZ_API__POLL_INTERVAL", "250ms"),
        ("IMOTRIZ_API__PATHS__ORDER_IDS", "/ids"),
        ("IMOTRIZ_RECONCILE__DETECT_CHANGES", "true"),
        ("IMOTRIZ_RESYNC__POLICY", "suppress_unchanged"),
        ("IMOTRIZ_STORES__BOGOTA__COUNTRY", "co"),
        ("IMOTRIZ_STORES__BOGOTA__BASE_URL", "http://127.0.0.1:8080"),
        ("IMOTRIZ_STORES__BOGOTA__TOKEN", "s3cret"),
        ("IMOTRIZ_STORES__BOGOTA_NORTE__COUNTRY", "MX"),
        ("IMOTRIZ_STORES__BOGOTA_NORTE__TOKEN_FILE", "/run/secrets/norte"),
    ]))
    .unwrap();
    assert!(!config.kafka.create_topics && config.reconcile.detect_changes);
    assert_eq!((config.kafka.lanes, config.kafka.replication_factor), (12, 3));
    assert_eq!(config.kafka.properties.inline().collect::<Vec<_>>(), [("security.protocol", "SASL_SSL")]);
    assert_eq!(config.kafka.topics.orders, "orders");
    assert_eq!(config.schema_registry.as_ref().unwrap().url.as_str(), "http://registry:8081/");
    assert_eq!((config.spool.dir.to_str().unwrap(), config.spool.page_space), ("/var/spool", 1 << 20));
    assert_eq!(config.admin.listen.to_string(), "[::]:0");
    assert_eq!(config.resync.policy, ResyncPolicy::SuppressUnchanged);
    assert_eq!(config.stores.keys().map(StoreName::as_str).collect::<Vec<_>>(), ["bogota", "bogota_norte"]);
    let store = bogota(&config);
    assert_eq!((store.country.code(), store.base_url.as_str()), ("CO", "http://127.0.0.1:8080/"));
    assert_eq!((store.api.poll_interval, store.api.paths.order_ids.as_str()), (Duration::from_millis(250), "/ids"));
}

#[test]
fn a_token_that_looks_like_something_else_stays_what_it_is() {
    for token in ["00123456", "true", "[abc]", "{a=1}", "1e5", "\"quoted\"", "'x'", "-0", "null"] {
        let env = [("IMOTRIZ_STORES__BOGOTA__TOKEN", token), ("IMOTRIZ_STORES__BOGOTA__COUNTRY", "CO")];
        let config = load("", &env, &[]).unwrap();
        assert_eq!(bogota(&config).token.read().unwrap().expose_secret(), token);
    }
}

#[test]
fn a_store_has_what_api_says_where_it_says_nothing_itself() {
    let toml = format!(
        "[api]\npoll_interval = \"1m\"\npaths.order_ids = \"/ids\"\n{STORE}max_body = \"1MiB\"\npaths.new_orders = \"/new\""
    );
    let config = load(&toml, &[], &[]).unwrap();
    let api = &bogota(&config).api;
    assert_eq!((api.poll_interval.as_secs(), api.max_body), (60, 1 << 20));
    assert_eq!((api.paths.new_orders.as_str(), api.paths.order_ids.as_str()), ("/new", "/ids"));
    assert_eq!(api.paths.order, "/api/cart/transaction/order/{id}");
    assert_eq!(bogota(&config).base_url.as_str(), "https://www.imotriz.com/");
}

#[test]
fn a_secret_of_a_higher_layer_takes_the_place_of_a_lower_ones_file_and_the_other_way_round() {
    let with_file = "[stores.bogota]\ncountry = \"CO\"\ntoken_file = \"no/such/file\"";
    let config = load(with_file, &[("IMOTRIZ_STORES__BOGOTA__TOKEN", "env")], &[]).unwrap();
    assert_eq!(bogota(&config).token.read().unwrap().expose_secret(), "env");
    let config = load(STORE, &[("IMOTRIZ_STORES__BOGOTA__TOKEN_FILE", "no/such/file")], &[]).unwrap();
    assert!(bogota(&config).token.read().is_err());
}

#[test]
fn a_variable_reaches_a_store_whose_name_has_a_hyphen() {
    let toml = "[stores.bogota-norte]\ncountry = \"CO\"";
    let config = load(toml, &[("IMOTRIZ_STORES__BOGOTA_NORTE__TOKEN", "t")], &[]).unwrap();
    assert_eq!(config.stores.keys().map(StoreName::as_str).collect::<Vec<_>>(), ["bogota-norte"]);
}

#[test]
fn variables_that_are_no_settings_are_left_alone() {
    let config = load(
        STORE,
        &[
            ("PATH", "/bin"),
            ("IMOTRIZ_TEST_BROKER", "x"),
            ("IMOTRIZ_CONFIG", "never/read"),
            ("IMOTRIZ_SCHEMA_REGISTRY__URL", ""),
            ("IMOTRIZ_KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("IMOTRIZ_KAFKA_SERVICE_PORT_METRICS", "9464"),
            ("IMOTRIZ_KAFKA_PORT", "tcp://10.0.0.1:9464"),
            ("IMOTRIZ_KAFKA_PORT_9464_TCP_ADDR", "10.0.0.1"),
            ("IMOTRIZ_SERVICE_HOST", "10.0.0.2"),
            ("IMOTRIZ_PORT", "tcp://10.0.0.2:9464"),
            ("IMOTRIZ_PORT_9464_TCP_ADDR", "10.0.0.2"),
        ],
        &[],
    );
    assert!(config.unwrap().schema_registry.is_none());
}

#[test]
fn the_file_that_a_variable_names_is_read_unless_the_command_line_names_one() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "[kafka]\nlanes = 9").unwrap();
    let env = variables(&[("IMOTRIZ_CONFIG", file.path().to_str().unwrap())]);
    assert_eq!(Config::load(None, env, &[]).unwrap().kafka.lanes, 9);
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_line() {
    let none = "";
    let cases = [
        ("[kafka]\nbootstrap_server = \"x\"", none, "`kafka.bootstrap_server` (settings.toml, line 2) is no setting"),
        ("[kafka]\nx.y = 1", none, "`kafka.x` (settings.toml, line 2) is no setting of this program. In `kafka` there"),
        ("\n[kafak]", none, "`kafak` (settings.toml, line 2) is no setting of this program. There are kafka, "),
        ("[[stores]]\nname = 1", none, "`stores` (settings.toml, line 1): is a section, not a setting"),
        ("kafka = 5", none, "`kafka` (settings.toml, line 1): is a section, not a setting"),
        ("[kafka]\nlanes.x = 5", none, "`kafka.lanes` (settings.toml, line 2): is a setting, not a section"),
        ("[kafka.properties]\nx = 2020-01-01", none, "`kafka.properties.x` (settings.toml, line 2): takes a text in"),
        ("[kafka", none, "settings.toml, line 1, is not valid TOML: "),
        ("[kafka]\nlanes = 1\nlanes = 2", none, "settings.toml, line 3, is not valid TOML: duplicate key"),
        ("[kafka]\nlanes = 0", none, "`kafka.lanes` (settings.toml, line 2): must be at least 1."),
        ("[kafka]\nlanes = \"many\"", none, "`kafka.lanes` (settings.toml, line 2): takes a whole number"),
        ("[kafka]\nlanes = 4294967296", none, "`kafka.lanes` (settings.toml, line 2): takes a whole number"),
        ("[kafka]\nreplication_factor = 0", none, "must be at least 1, or -1 for the broker's default."),
        ("[kafka]\ncreate_topics = \"maybe\"", none, "`kafka.create_topics` (settings.toml, line 2): takes true or"),
        ("[kafka]\nbootstrap_servers = \" \"", none, "(settings.toml, line 2): must not be empty."),
        ("[kafka]\nbootstrap_servers = [\"a\"]", none, "(settings.toml, line 2): takes a text in quotes."),
        ("[kafka]\ntransaction_timeout = \"1h\"", none, "(settings.toml, line 2): must be between 1s and 15m."),
        ("[kafka.topics]\norders = \"a b\"", none, "`kafka.topics.orders` (settings.toml, line 2): is no name for a"),
        (
            "[kafka.topics]\norders = \"x\"\ntracking = \"x\"",
            none,
            "`kafka.topics.tracking` (settings.toml, line 3): must",
        ),
        (
            "[kafka.properties]\nacks = 1",
            none,
            "`kafka.properties.acks` (settings.toml, line 2): this property belongs",
        ),
        (
            "[kafka.properties]\n\"group.id\" = \"x\"",
            none,
            "`kafka.properties.\"group.id\"` (settings.toml, line 2): this",
        ),
        ("[kafka.properties]\nsecurity.protocol = \"x\"", none, "a name with dots needs quotes"),
        ("[schema_registry]\nusername = \"u\"", none, "`schema_registry.url` is missing."),
        ("[schema_registry]\nurl = \"http://r\"\nusername = \"u\"", none, "`schema_registry.password` is missing. Set"),
        ("[schema_registry]\nurl = \"http://r\"\npassword = \"u\"", none, "`schema_registry.username` is missing. Set"),
        (
            "[schema_registry]\nurl = \"http://u:s3cret@r\"",
            none,
            "(settings.toml, line 2): must have neither a user, nor",
        ),
        (
            "[schema_registry]\nurl = \"registry:8081\"",
            none,
            "(settings.toml, line 2): must begin with https:// or http://",
        ),
        (
            "[spool]\npage_space = 4096",
            none,
            "`spool.page_space` (settings.toml, line 2): takes a size in quotes, such as",
        ),
        ("[spool]\npage_space = \"4KB\"", none, "(settings.toml, line 2): `4KB` is no size: write a number and a unit"),
        (
            "[admin]\nlisten = \"9464\"",
            none,
            "`admin.listen` (settings.toml, line 2): `9464` is no address with a port",
        ),
        ("[api]\npoll_interval = 30", none, "`api.poll_interval` (settings.toml, line 2): takes a duration in quotes"),
        ("[api]\npoll_interval = \"30\"", none, "`api.poll_interval` (settings.toml, line 2): `30` is no duration: "),
        ("[api]\npoll_interval = \"0s\"", none, "(settings.toml, line 2): must be longer than nothing."),
        ("[api.paths]\norder = \"/order\"", none, "`api.paths.order` (settings.toml, line 2): is no path of an order"),
        ("[api.paths]\nnew_orders = \"new\"", none, "`api.paths.new_orders` (settings.toml, line 2): is no path: it"),
        (
            "[api.paths]\nnew_orders = \"//evil/new\"",
            none,
            "`api.paths.new_orders` (settings.toml, line 2): is no path: it",
        ),
        ("[api.paths]\norder = '/\\evil/{id}'", none, "(settings.toml, line 2): is no path of an order"),
        (
            "[reconcile]\nretention = \"8d\"",
            none,
            "`reconcile.retention` (settings.toml, line 2): must be at least 31d",
        ),
        (
            "[resync]\npolicy = \"never\"",
            none,
            "`resync.policy` (settings.toml, line 2): takes one of publish, suppress",
        ),
        (
            "[stores.Bogota]\ncountry = \"CO\"",
            none,
            "`stores.Bogota` (settings.toml, line 1): the store name has a char",
        ),
        (
            "[stores.x]",
            none,
            "`stores.x.country` is missing. Set it in the settings file or as IMOTRIZ_STORES__X__COUNTRY.",
        ),
        ("[stores.x]\ncountry = \"PE\"", none, "`stores.x.country` (settings.toml, line 2): `PE` is no country of the"),
        (
            "[stores.x]\ncountry = \"CO\"",
            none,
            "`stores.x` (settings.toml, line 1): has no token; set its token_file (or IMOTRIZ_STORES__X__TOKEN_FILE) or",
        ),
        (
            STORE,
            "token_file = \"f\"",
            "(settings.toml, line 4): `stores.bogota.token` is set as well (settings.toml, line 3)",
        ),
        (STORE, "base_url = \"http://10.0.0.1\"", "`stores.bogota.base_url` (settings.toml, line 4): the token would"),
        (STORE, "base_url = \"http://localhost.evil\"", "(settings.toml, line 4): the token would travel in the clear"),
        (STORE, "base_url = \"www.imotriz.com\"", "(settings.toml, line 4): is no URL: relative URL without a base."),
        (
            STORE,
            "currency = \"USD\"",
            "`stores.bogota.currency` (settings.toml, line 4) is no setting of this program.",
        ),
        (
            "[stores.x]\ncountry = \"CO\"\ntoken = 5318008",
            none,
            "`stores.x.token` (settings.toml, line 3): takes a text in",
        ),
    ];
    for (toml, more, expected) in cases {
        let message = load(&format!("{toml}{more}"), &[], &[]).expect_err(toml);
        assert!(message.contains(expected), "{toml}{more}\nsays     {message}\nand not  {expected}");
        assert!(!message.contains("s3cret") && !message.contains("5318008"), "{message}");
    }
}

#[test]
fn a_broken_file_is_reported_without_quoting_it() {
    for line in
        ["token = s3cret", "token = \"s3cret", "s3cret", "token = \"\\q s3cret\"", "token = 's3cret' x", "= s3cret"]
    {
        let message = load(&format!("[stores.x]\n{line}"), &[], &[]).unwrap_err();
        assert!(message.starts_with("settings.toml, line 2, is not valid TOML: "), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn what_is_wrong_in_the_environment_is_named_with_its_variable() {
    let cases = [
        (
            "IMOTRIZ_KAFKA__LANE",
            "1",
            "`kafka.lane` (IMOTRIZ_KAFKA__LANE) is no setting of this program. In `kafka` there",
        ),
        (
            "IMOTRIZ_KAFKA_BOOTSTRAP_SERVERS",
            "x",
            "IMOTRIZ_KAFKA_BOOTSTRAP_SERVERS is no setting of this program. Did you mean",
        ),
        ("IMOTRIZ_KAFKA__BOOTSTRAP__SERVERS", "x", "Did you mean IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS?"),
        (
            "IMOTRIZ_TOKEN",
            "s3cret",
            "the environment variable IMOTRIZ_TOKEN is no setting of this program. Settings have two",
        ),
        (
            "IMOTRIZ_KAFKA",
            "x",
            "`kafka` (IMOTRIZ_KAFKA): is a section, not a setting. In `kafka` there are bootstrap_servers",
        ),
        ("IMOTRIZ_KAFKA__LANES", "many", "`kafka.lanes` (IMOTRIZ_KAFKA__LANES): takes a whole number"),
        (
            "IMOTRIZ_KAFKA__CREATE_TOPICS",
            "x",
            "`kafka.create_topics` (IMOTRIZ_KAFKA__CREATE_TOPICS): takes true or false",
        ),
        (
            "IMOTRIZ_KAFKA__PROPERTIES__ACKS",
            "1",
            "`kafka.properties.acks` (IMOTRIZ_KAFKA__PROPERTIES__ACKS): this property",
        ),
        ("IMOTRIZ_KAFKA__TOPICS__ORDERS", "imotriz.orders.dlq.v1", "must be another topic than kafka.topics.orders"),
        ("IMOTRIZ_STORES__X__COUNTRY", "PE", "`stores.x.country` (IMOTRIZ_STORES__X__COUNTRY): `PE` is no country"),
        (
            "IMOTRIZ_STORES__X__TOKEN",
            "s3cret",
            "`stores.x.country` is missing. Set it in the settings file or as IMOTRIZ_STORES",
        ),
        (
            "IMOTRIZ_STORES__X.Y__TOKEN",
            "s3cret",
            "(IMOTRIZ_STORES__X.Y__TOKEN): the store name has a character that is not",
        ),
        ("IMOTRIZ_SPOOL__DIR", "/a\u{fffd}", "`spool.dir` (IMOTRIZ_SPOOL__DIR): is not valid UTF-8."),
        ("IMOTRIZ_STORES__X__TOKEN__Y", "s3cret", "`stores.x.token.y` (IMOTRIZ_STORES__X__TOKEN__Y) is no setting"),
    ];
    for (name, value, expected) in cases {
        let message = load("", &[(name, value)], &[]).expect_err(name);
        assert!(message.contains(expected), "{name}={value}\nsays     {message}\nand not  {expected}");
        assert!(!message.contains("s3cret") && message.ends_with(['.', '?']) && !message.contains(".."), "{message}");
    }
}

#[test]
fn a_file_that_was_named_and_is_not_there_is_an_error() {
    let message = Config::load(Some(Path::new("no/such.toml")), [], &[]).unwrap_err().to_string();
    assert!(message.starts_with("can't read the settings file no/such.toml: "), "{message}");
    let unknown = load("", &[], &[("kafka.x", "1".to_owned())]).unwrap_err();
    assert!(unknown.starts_with("`kafka.x` (command line) is no setting"), "{unknown}");
}

#[test]
fn plain_http_goes_to_a_loopback_address_or_where_it_is_allowed() {
    for url in ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080", "https://example.com"] {
        assert!(load(&format!("{STORE}base_url = \"{url}\""), &[], &[]).is_ok(), "{url}");
    }
    let allowed = format!("{STORE}base_url = \"http://10.0.0.1\"\nallow_insecure_http = true");
    assert!(load(&allowed, &[], &[]).unwrap().stores_or_error().is_ok());
}

const SECRETS: &str = r#"
[kafka]
lanes = 8
[kafka.properties]
"sasl.password" = "s3cret"
"ssl.key.pem" = "s3cret"
"ssl.keystore.password" = "s3cret"
"sasl.oauthbearer.client.secret" = "s3cret"
"sasl.jaas.config" = "s3cret"
"sasl.username" = "ana"
"linger.ms" = 5
[schema_registry]
url = "http://localhost:8081"
username = "ana"
password = "s3cret"
[stores.bogota]
country = "CO"
token = "s3cret"
"#;

#[test]
fn no_secret_is_shown_or_debugged() {
    let config = load(SECRETS, &[], &[]).unwrap();
    for text in
        [format!("{config:?}"), format!("{config:#?}"), config.redacted_toml(), config.redacted_json().to_string()]
    {
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("ana") && text.contains("linger.ms"), "{text}");
    }
}

#[test]
fn what_is_shown_names_each_source_and_can_be_loaded_again() {
    let config =
        load(SECRETS, &[("IMOTRIZ_SPOOL__DIR", "/var/spool")], &[("admin.listen", "[::1]:1".to_owned())]).unwrap();
    let shown = config.redacted_toml();
    let lines: Vec<_> = shown.lines().collect();
    for line in [
        "[kafka.properties]",
        "\"sasl.password\" = \"[redacted]\"  # ",
        "dir = \"/var/spool\"  # IMOTRIZ_SPOOL__DIR",
        "listen = \"[::1]:1\"  # command line",
        "bootstrap_servers = \"localhost:9092\"  # default",
        "token = \"[redacted]\"  # ",
    ] {
        assert!(lines.iter().any(|shown| shown.starts_with(line)), "{line}\nis not in\n{shown}");
    }
    assert!(shown.contains("lanes = 8  # ") && shown.contains("settings.toml, line 3\n"), "{shown}");
    let again = Config::from_toml(&shown).unwrap();
    assert_eq!(again.redacted_json()["settings"], config.redacted_json()["settings"]);
    assert_eq!(config.redacted_json()["sources"]["spool.dir"], "IMOTRIZ_SPOOL__DIR");
}

#[test]
fn brokers_are_hosts_with_ports_and_nothing_else() {
    let servers = |text: &str| Config::from_toml(&format!("[kafka]\nbootstrap_servers = \"{text}\""));
    for (good, read) in [
        ("localhost:9092", "localhost:9092"),
        (" kafka-1.example.com:9092 , kafka_2:9093", "kafka-1.example.com:9092,kafka_2:9093"),
        ("kafka", "kafka"),
        ("10.0.0.1:9092", "10.0.0.1:9092"),
        ("[::1]:9092,[fe80::1]", "[::1]:9092,[fe80::1]"),
    ] {
        assert_eq!(servers(good).unwrap().kafka.bootstrap_servers, read);
    }
    for bad in [
        "http://host",
        "http://host:9092",
        "SASL_SSL://host:9093",
        "a;b",
        "a:9092;b:9092",
        "a b",
        "a,,b",
        "a,",
        ":9092",
        "host:",
        "host:0",
        "host:70000",
        "host:+1",
        "host:port",
        "::1",
        "::1:9092",
        "[::1",
        "[::1]9092",
        "[host]:9092",
        "host:9092/topic",
    ] {
        let message = servers(bad).expect_err(bad).to_string();
        assert!(
            message.contains("`kafka.bootstrap_servers`") && message.contains("write host:port"),
            "{bad}: {message}"
        );
    }
    let message = servers("user:s3cret@host:9092").unwrap_err().to_string();
    assert!(!message.contains("s3cret"), "{message}");
}

#[test]
fn a_kafka_property_may_be_in_a_file_and_the_higher_layer_counts() {
    let in_file = "[kafka.properties]\n\"sasl.password_file\" = \"/run/secrets/kafka\"\n\"sasl.username\" = \"u\"";
    let properties = |toml: &str, env: &[(&str, &str)]| load(toml, env, &[]).map(|config| config.kafka.properties);
    let read = properties(in_file, &[]).unwrap();
    assert_eq!(read.files().collect::<Vec<_>>(), [("sasl.password", "/run/secrets/kafka")]);
    assert_eq!(read.inline().collect::<Vec<_>>(), [("sasl.username", "u")]);
    assert!(read.check_files().unwrap_err().to_string().contains("/run/secrets/kafka"));

    let read = properties(in_file, &[("IMOTRIZ_KAFKA__PROPERTIES__SASL_PASSWORD", "p")]).unwrap();
    assert_eq!((read.files().count(), read.inline().next()), (0, Some(("sasl.password", "p"))));
    let inline = "[kafka.properties]\n\"sasl.password\" = \"p\"";
    let read = properties(inline, &[("IMOTRIZ_KAFKA__PROPERTIES__SASL_PASSWORD_FILE", "/f")]).unwrap();
    assert_eq!((read.inline().count(), read.files().next()), (0, Some(("sasl.password", "/f"))));

    let both = format!("{inline}\n\"sasl.password_file\" = \"/f\"");
    assert!(properties(&both, &[]).unwrap_err().contains("is set as well"));
    let owned = "[kafka.properties]\n\"transactional.id_file\" = \"/f\"";
    assert!(properties(owned, &[]).unwrap_err().contains("this property belongs to the program"));
}
