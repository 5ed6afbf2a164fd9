//! The folder `stores_dir`: what its files may say, and what is taken up of them.

use tempfile::TempDir;

use super::*;

/// A settings file beside a folder of stores.
struct Stores {
    root: TempDir,
}

impl Stores {
    fn new(settings: &str, files: &[(&str, &str)]) -> Self {
        let stores = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir(stores.dir()).unwrap();
        let settings = format!("stores_dir = {:?}\n{settings}", stores.dir());
        fs::write(stores.root.path().join("settings.toml"), settings).unwrap();
        files.iter().for_each(|(name, text)| stores.write(name, text));
        stores
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("stores.d")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir().join(name), text).unwrap();
    }

    fn load_with(&self, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(Some(&self.root.path().join("settings.toml")), variables(env), &[])
    }

    fn load(&self) -> Config {
        self.load_with(&[]).unwrap()
    }

    /// What is refused, with the folder cut off.
    fn reasons(&self, config: &Config) -> Vec<String> {
        let prefix = format!("{}/", self.dir().display());
        config.refused.iter().map(|refused| refused.reason.replace(&prefix, "")).collect()
    }
}

fn names(config: &Config) -> Vec<&str> {
    config.stores.keys().map(StoreName::as_str).collect()
}

fn name(text: &str) -> StoreName {
    text.parse().unwrap()
}

fn store(name: &str) -> String {
    format!("[stores.{name}]\ncountry = \"CO\"\ntoken = \"s3cret\"\n")
}

#[test]
fn stores_come_from_the_settings_file_and_from_the_files_of_the_folder() {
    let both = store("cali") + &store("pasto");
    let stores = Stores::new(
        &format!("[api]\npoll_interval = \"7s\"\n{}", store("bogota")),
        &[("a.toml", &both), ("quito.toml", &store("quito")), (".half.toml", "["), ("b.toml.new", "["), ("note", "[")],
    );
    let config = stores.load();
    assert_eq!(names(&config), ["bogota", "cali", "pasto", "quito"]);
    assert!(config.stores.values().all(|store| store.api.poll_interval.as_secs() == 7));
    assert!(config.place(&name("pasto")).unwrap().to_string().ends_with("a.toml, line 4"));
    assert!(config.refused.is_empty() && config.folder_version.is_some());
    assert!(!config.redacted_toml().contains("s3cret") && config.redacted_toml().starts_with("stores_dir = "));
}

#[test]
fn a_variable_names_the_folder_and_reaches_its_stores() {
    let stores = Stores::new("", &[("n.toml", "[stores.bogota-norte]\ncountry = \"CO\"\ntoken_file = \"nowhere\"")]);
    let config = stores.load_with(&[("IMOTRIZ_STORES__BOGOTA_NORTE__TOKEN", "env")]).unwrap();
    assert_eq!(config.stores[&name("bogota-norte")].token.read().unwrap().expose_secret(), "env");
    let other = Stores::new("", &[("x.toml", &store("x"))]);
    let config = stores.load_with(&[("IMOTRIZ_STORES_DIR", other.dir().to_str().unwrap())]).unwrap();
    assert_eq!(names(&config), ["x"]);
}

#[test]
fn a_bad_file_is_named_with_its_line_and_its_reason_and_does_not_stop_the_others() {
    let cases = [
        ("\n[stores.x", "bad.toml, line 2, is not valid TOML: "),
        (
            "[kafka]\nlanes = 1",
            "`kafka` (bad.toml, line 1): a file of `stores_dir` has [stores.NAME] tables and nothing else",
        ),
        ("stores = 1", "`stores` (bad.toml, line 1): a file of `stores_dir` has"),
        ("[stores]\nx = 1", "`stores.x` (bad.toml, line 2): is a section, not a setting"),
        ("[stores.X]\ncountry = \"CO\"", "`stores.X` (bad.toml, line 1): the store name has a character"),
        ("[stores.x]\ncountry = \"CO\"", "`stores.x` (bad.toml, line 1): has no token"),
        ("[stores.x]\ntoken = \"s3cret\"", "`stores.x.country` is missing"),
        (
            "[stores.x]\ncountry = \"PE\"\ntoken = \"s3cret\"",
            "`stores.x.country` (bad.toml, line 2): `PE` is no country",
        ),
        (
            "[stores.x]\ncountry = \"CO\"\ntoken = 5318008",
            "`stores.x.token` (bad.toml, line 3): takes a text in quotes",
        ),
        ("[stores.x]\ncurrency = \"COP\"", "`stores.x.currency` (bad.toml, line 2) is no setting of this program."),
        (
            "[stores.x]\ncountry = \"CO\"\ntoken = \"s3cret\"\nbase_url = \"http://a.example\"",
            "(bad.toml, line 4): the token",
        ),
    ];
    for (text, expected) in cases {
        let stores = Stores::new("", &[("bad.toml", text), ("good.toml", &store("good"))]);
        let config = stores.load();
        let reasons = stores.reasons(&config);
        assert_eq!((names(&config), reasons.len()), (vec!["good"], 1), "{text}");
        assert!(reasons[0].contains(expected), "{text}\nsays     {}\nand not  {expected}", reasons[0]);
        assert!(!reasons[0].contains("s3cret") && !reasons[0].contains("5318008"), "{}", reasons[0]);
    }
}

#[test]
fn one_bad_store_of_a_file_does_not_stop_the_others_of_that_file() {
    let text = format!("{}[stores.bad]\ncountry = \"PE\"\n{}", store("a"), store("c"));
    let config = Stores::new("", &[("all.toml", &text)]).load();
    assert_eq!(names(&config), ["a", "c"]);
    assert_eq!(config.refused[0].store, Some(name("bad")));
}

#[test]
fn a_store_that_is_defined_twice_is_refused_with_both_places_for_nobody_knows_which_is_meant() {
    let stores = Stores::new("", &[("a.toml", &store("x")), ("b.toml", &(store("y") + &store("x")))]);
    let config = stores.load();
    assert_eq!(names(&config), ["y"]);
    assert_eq!(
        stores.reasons(&config),
        ["`stores.x` (a.toml, line 1): is defined twice, here and in b.toml, line 4; keep one."]
    );

    let stores = Stores::new(&store("x"), &[("a.toml", &store("x")), ("y.toml", &store("y"))]);
    let config = stores.load();
    assert_eq!(names(&config), ["y"]);
    assert!(
        stores.reasons(&config)[0].contains("settings.toml, line 2): is defined twice, here and in a.toml, line 1")
    );
}

#[test]
fn what_is_wrong_in_the_settings_file_is_an_error_as_it_is_without_a_folder() {
    let stores = Stores::new("[stores.x]\ncountry = \"PE\"", &[("y.toml", &store("y"))]);
    let message = stores.load_with(&[]).unwrap_err().to_string();
    assert!(message.contains("settings.toml, line 3): `PE` is no country"), "{message}");
    fs::remove_dir_all(stores.dir()).unwrap();
    let message =
        Stores::load_with(&Stores::new("", &[]), &[("IMOTRIZ_STORES_DIR", "no/such")]).unwrap_err().to_string();
    assert!(message.starts_with("can't read no/such for stores (`stores_dir`): No such file"), "{message}");
}

#[test]
fn where_no_store_can_be_used_it_says_why() {
    let none = Stores::new("", &[]).load().stores_or_error().unwrap_err();
    assert!(matches!(none, ConfigError::NoStores));
    let message = Stores::new("", &[("x.toml", "x")]).load().stores_or_error().unwrap_err().to_string();
    assert!(message.contains("x.toml, line 1, is not valid TOML"), "{message}");
}

#[test]
fn changes_are_told_by_what_is_in_force_and_not_by_where_it_stands() {
    let stores =
        Stores::new(&store("bogota"), &[("a.toml", &(store("cali") + &store("pasto"))), ("x.toml", &store("x"))]);
    let former = stores.load();
    stores.write("a.toml", &store("cali").replace("s3cret", "another"));
    stores.write("moved.toml", &store("pasto"));
    stores.write("quito.toml", &store("quito"));
    fs::remove_file(stores.dir().join("x.toml")).unwrap();
    let new = stores.load();
    let told: Vec<_> = changes(&former.stores, &new.stores).into_iter().collect();
    let expected = [("cali", StoreChange::Changed), ("quito", StoreChange::Added), ("x", StoreChange::Removed)];
    assert_eq!(told, expected.map(|(store, change)| (name(store), change)));
    assert!(!new.differs_beyond_stores(&former));
    let general = stores.load_with(&[("IMOTRIZ_API__POLL_INTERVAL", "9s")]).unwrap();
    assert!(changes(&new.stores, &general.stores).values().all(|change| *change == StoreChange::Changed));
    assert!(!general.differs_beyond_stores(&new));
    assert!(stores.load_with(&[("IMOTRIZ_KAFKA__LANES", "9")]).unwrap().differs_beyond_stores(&new));
}

#[test]
fn a_secret_of_kafka_that_was_replaced_is_a_difference() {
    let stores = Stores::new("", &[]);
    let secret = stores.root.path().join("secret");
    let load = |text: &str| {
        fs::write(&secret, text).unwrap();
        stores.load_with(&[("IMOTRIZ_KAFKA__PROPERTIES__SASL_PASSWORD_FILE", secret.to_str().unwrap())]).unwrap()
    };
    let former = load("first");
    assert!(load("another").differs_beyond_stores(&former));
}

#[test]
fn settings_that_turn_bad_leave_the_former_ones_in_force_and_a_store_that_is_gone_goes() {
    let stores =
        Stores::new("", &[("a.toml", &(store("a") + &store("b"))), ("c.toml", &store("c")), ("d.toml", &store("d"))]);
    let former = stores.load();
    stores.write("a.toml", "[stores.a");
    stores.write("c.toml", "[stores.c]\ncountry = \"PE\"\ntoken = \"t\"");
    fs::remove_file(stores.dir().join("d.toml")).unwrap();
    let mut new = stores.load();
    new.keep_refused(&former);
    assert_eq!(names(&new), ["a", "b", "c"]);
    assert_eq!(
        changes(&former.stores, &new.stores).into_iter().collect::<Vec<_>>(),
        [(name("d"), StoreChange::Removed)]
    );

    // What was kept is kept again at the next load, and no longer once its file is gone.
    let mut next = stores.load();
    next.keep_refused(&new);
    assert_eq!(names(&next), ["a", "b", "c"]);
    fs::remove_file(stores.dir().join("a.toml")).unwrap();
    let mut last = stores.load();
    last.keep_refused(&next);
    assert_eq!(names(&last), ["c"]);
}

#[test]
fn a_change_of_the_folder_is_seen_once_and_when_it_has_come_to_rest() {
    let stores = Stores::new("", &[("a.toml", &store("a"))]);
    let config = stores.load();
    let mut watch = FolderWatch::new(stores.dir(), config.folder_version);
    assert!(!watch.look() && !watch.look());
    let changes: [&dyn Fn(); 5] = [
        &|| stores.write("b.toml", &store("b")),
        &|| stores.write("b.toml", &store("bb")),
        &|| fs::rename(stores.dir().join("b.toml"), stores.dir().join("c.toml")).unwrap(),
        &|| fs::remove_file(stores.dir().join("c.toml")).unwrap(),
        &|| fs::rename(stores.dir(), stores.root.path().join("elsewhere")).unwrap(),
    ];
    for (index, change) in changes.iter().enumerate() {
        change();
        assert!(!watch.look(), "{index}: it may still be changing");
        assert!(watch.look(), "{index}");
        assert!(!watch.look(), "{index}: once");
    }
    let mut watch = FolderWatch::new(stores.root.path().into(), None);
    assert!(!watch.look() && watch.look(), "what was never listed");
}
