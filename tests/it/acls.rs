//! Tests with a broker that enforces ACLs. With the ACLs of the table in docs/operations.md everything works; if one of
//! them is missing, `doctor` names it, and so does the operation that needs it.

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use crate::admin::{address, ready};
use crate::doctor::check;
use crate::support::compose::read;
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::secure::{self, Door, guarded, limited};
use crate::support::{consume, wait};

/// A row of the table in docs/operations.md, with this test's names in place of the defaults.
struct Row {
    needed_for: String,
    arguments: Vec<String>,
}

impl Row {
    /// The value that follows `option`, as often as it is there.
    fn values(&self, option: &str) -> Vec<&str> {
        self.arguments.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
    }

    /// The ACLs in it, so that each can be taken away alone. Topics are created together: whoever may create two of them
    /// leaves fewer for the next user to fail with.
    fn each(self) -> Vec<Self> {
        let topics: Vec<_> = self.values("--topic").into_iter().map(str::to_owned).collect();
        if topics.len() < 2 || self.needed_for == "creating topics" {
            return vec![self];
        }
        let operation = self.values("--operation")[0];
        let row = |topic: &String| Self {
            needed_for: self.needed_for.clone(),
            arguments: ["--operation", operation, "--topic", topic].map(str::to_owned).to_vec(),
        };
        topics.iter().map(row).collect()
    }

    /// The commands that give it to `user`, or a part of it: of several topics one is named at a time.
    fn commands(&self, user: &str) -> Vec<String> {
        let add = format!("kafka-acls.sh --add --allow-principal User:{user}");
        match self.values("--topic").as_slice() {
            [] => vec![format!("{add} {}", self.arguments.join(" "))],
            topics => {
                let operation = self.values("--operation")[0];
                topics.iter().map(|topic| format!("{add} --operation {operation} --topic {topic}")).collect()
            }
        }
    }

    fn assert_named(&self, user: &str, said: &str) {
        let named = |command: &String| said.contains(command.as_str());
        assert!(self.commands(user).iter().any(named), "{:?} is not named: {said}", self.arguments);
    }
}

fn table(scene: &Scene) -> Vec<Row> {
    let operations = read("docs/operations.md");
    let (_, table) = operations.split_once("<!-- acls -->").unwrap();
    let (table, _) = table.split_once("<!-- end of acls -->").unwrap();
    let places = [
        ("imotriz.orders.v1", scene.topics.orders.as_str()),
        ("imotriz.orders.tracking.v1", &scene.topics.tracking),
        ("imotriz.orders.dlq.v1", &scene.topics.dead_letter),
        // The prefix of this scene is the name of its topic.
        ("imotriz-kafka", &scene.topics.orders),
        ("imotriz-kafka-", &format!("{}-", scene.topics.orders)),
    ];
    let here = |word: &str| {
        let place = places.iter().find(|(there, _)| *there == word);
        place.map_or(word, |(_, here)| here).to_owned()
    };
    let rows = table.lines().filter(|line| line.contains("--operation")).map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let arguments = cells[2].trim_matches('`').split_whitespace().map(here).collect();
        Row { needed_for: cells[1].to_owned(), arguments }
    });
    rows.flat_map(Row::each).collect()
}

/// The users of a scene: one for each row of the table, who may do everything else, and one who may do all of it.
struct Users {
    scene: Scene,
    rows: Vec<Row>,
}

impl Users {
    fn new(test: &str) -> Self {
        let scene = Scene::behind(guarded(), Door::Plain, test, SandboxArgs::with_orders(30));
        let group = scene.topics.orders.clone();
        let scene = scene.with("IMOTRIZ_CLUSTER__GROUP_ID", &group);
        let users = Self { rows: table(&scene), scene };
        assert!(users.rows.len() >= 12, "only {} rows found", users.rows.len());
        for (number, row) in users.rows.iter().enumerate() {
            let allowed = (0..=users.rows.len()).filter(|user| *user != number);
            let principals: Vec<_> = allowed.map(|user| format!("User:{}", limited(user))).collect();
            let principals = principals.iter().flat_map(|principal| ["--allow-principal", principal]);
            let arguments = row.arguments.iter().map(String::as_str);
            guarded().kafka.acl(&["--add"].into_iter().chain(principals).chain(arguments).collect::<Vec<_>>());
        }
        users
    }

    /// Who may do everything that is in the table.
    fn all(&self) -> String {
        limited(self.rows.len())
    }

    fn run(&self, user: &str, arguments: &[&str], code: i32) -> Program {
        self.run_with(user, arguments, &[], code)
    }

    fn run_with(&self, user: &str, arguments: &[&str], more: &[(&str, &str)], code: i32) -> Program {
        let name = secure::property("SASL_USERNAME");
        let mut program = self.scene.settings.start_with(arguments, &[&[(name.as_str(), user)], more].concat());
        program.expect_exit(code, RUN_DEADLINE);
        program
    }

    /// Starts the service, and stops it once it is ready.
    fn runs(&self, user: &str) {
        let name = secure::property("SASL_USERNAME");
        let mut program = self.scene.settings.start_with(&["run"], &[(&name, user)]);
        ready(&address(&mut program));
        program.signal(Signal::TERM);
        program.expect_exit(0, RUN_DEADLINE);
    }

    /// Whom the row is kept from, with the row.
    fn without(&self, needed_for: &str) -> Vec<(String, &Row)> {
        let rows = self.rows.iter().enumerate().filter(|(_, row)| row.needed_for.contains(needed_for));
        let rows: Vec<_> = rows.map(|(number, row)| (limited(number), row)).collect();
        assert!(!rows.is_empty(), "the table has no row for {needed_for}");
        rows
    }

    /// Lets `doctor` name the row.
    fn doctor(&self, user: &str, row: &Row, code: i32) {
        row.assert_named(user, &self.run(user, &["--json", "doctor"], code).stdout());
    }
}

#[test]
fn with_the_acls_of_the_readme_everything_works_and_each_one_that_is_missing_is_named() {
    let users = Users::new("acls");
    let all = users.all();
    for (user, row) in users.without("creating topics") {
        for command in [["topics", "ensure"].as_slice(), &["drain"]] {
            row.assert_named(&user, &users.run(&user, command, 4).stderr());
        }
        users.doctor(&user, row, 7);
    }
    users.run(&all, &["topics", "ensure"], 0);

    for (user, row) in users.without("publishing") {
        for command in [["drain"].as_slice(), &["topics", "check"]] {
            // Who may be a transactional producer is not the topics' matter.
            if command == ["drain"] || row.values("--transactional-id").is_empty() {
                row.assert_named(&user, &users.run(&user, command, 4).stderr());
            }
        }
        users.doctor(&user, row, 7);
    }
    assert_eq!(users.scene.reads().len(), 0, "the destructive read, without a place to put what it returns");
    // Looking has written nothing, however often.
    for topic in [&users.scene.topics.orders, &users.scene.topics.tracking, &users.scene.topics.dead_letter] {
        assert_eq!(consume::uncommitted(users.scene.kafka(), topic).len(), 0, "{topic}");
    }

    users.run(&all, &["drain"], 0);
    users.scene.verdict().assert_clean();
    let id = users.scene.delivered()[0].clone();
    for command in [["topics", "check"].as_slice(), &["reconcile"], &["reconcile", "--dry-run"], &["republish", &id]] {
        users.run(&all, command, 0);
    }
    for command in [["tail"].as_slice(), &["explain", &id], &["dlq", "list"], &["status"]] {
        users.run(&all, command, 0);
    }
    users.runs(&all);
    let healthy = users.run(&all, &["doctor"], 0).stdout();
    assert!(healthy.contains("all is well") && !healthy.contains("kafka-acls.sh"), "{healthy}");

    // An empty topic has nothing that anybody could be kept from reading.
    users.scene.shop().insert(r#"{"order":{"id":9,"total":"much"}}"#).unwrap();
    users.run(&all, &["drain"], 0);
    users.run(&all, &["dlq", "retry", "--all"], 11);
    for command in ["tail", "explain", "dlq", "status"] {
        for (user, row) in users.without(&format!("`{command}`")) {
            let arguments: &[&str] = match command {
                "explain" => &["explain", &id],
                "dlq" => &["dlq", "list"],
                _ => &[command],
            };
            row.assert_named(&user, &users.run(&user, arguments, 4).stderr());
            users.doctor(&user, row, 0);
            users.run(&user, &["drain"], 0);
        }
    }
    let cluster = [("IMOTRIZ_CLUSTER__ENABLED", "true")];
    for (user, row) in users.without("`cluster.enabled`") {
        row.assert_named(&user, &users.run_with(&user, &["--json", "doctor"], &cluster, 7).stdout());
        row.assert_named(&user, &users.run_with(&user, &["run"], &cluster, 4).stderr());
    }
    let healthy = users.run_with(&all, &["doctor"], &cluster, 0).stdout();
    assert!(healthy.contains("no instance is at work") && !healthy.contains("kafka-acls.sh"), "{healthy}");
    for (user, row) in users.without("`doctor`") {
        users.doctor(&user, row, 0);
        users.run(&user, &["drain"], 0);
        let said = users.run(&user, &["doctor"], 0).stdout();
        let guessed = ["after an unknown time", "cleanup.policy is", "it wants"];
        assert!(!guessed.iter().any(|guess| said.contains(guess)), "{said}");
    }
}

#[test]
fn whoever_may_do_nothing_is_told_of_every_topic_what_is_needed() {
    let scene = Scene::behind(guarded(), Door::Plain, "nothing", SandboxArgs::with_orders(3));
    let user = limited(secure::LIMITED - 1);
    let scene = scene.with(&secure::property("SASL_USERNAME"), &user);
    for (topic, needed) in [
        (&scene.topics.orders, "--operation Write"),
        (&scene.topics.tracking, "--operation Read --operation Write --operation DescribeConfigs"),
        (&scene.topics.dead_letter, "--operation Write"),
    ] {
        let check = check(&scene, &format!("topic {topic}"), 7);
        assert_eq!(check["health"], "bad", "{check}");
        let command = format!("kafka-acls.sh --add --allow-principal User:{user} {needed} --topic {topic}");
        assert_eq!(check["cure"], *command, "{check}");
        assert!(!check.to_string().contains("topics ensure"), "what may be hidden is not called missing: {check}");
    }
    let log = check(&scene, "transaction log", 7);
    assert_eq!((&log["health"], log["found"].to_string().contains("replicas")), (&"doubtful".into(), false), "{log}");
    assert!(log["cure"].as_str().unwrap().contains("--operation DescribeConfigs --cluster"), "{log}");
}

#[test]
fn a_topic_that_is_forbidden_while_the_program_runs_is_named_and_nothing_is_lost() {
    let scene = Scene::behind(guarded(), Door::Plain, "forbidden", SandboxArgs::with_orders(30));
    let user = limited(0);
    let scene = scene.with(&secure::property("SASL_USERNAME"), &user);
    let principal = format!("User:{user}");
    let change = |how: &[&str], row: &[&str]| {
        guarded().kafka.acl(&[how, &["--allow-principal", &principal], row].concat());
    };
    for row in
        table(&scene).iter().filter(|row| ["creating", "publishing"].iter().any(|it| row.needed_for.contains(it)))
    {
        change(&["--add"], &row.arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut program = scene.settings.start(&["run"]);
    ready(&address(&mut program));
    wait::until("what was there is published", RUN_DEADLINE, || scene.events().len() == 30);

    let write = ["--operation", "Write", "--topic", &scene.topics.orders];
    change(&["--remove", "--force"], &write);
    // Until the broker knows, orders may still be published.
    wait::until("an order is refused", RUN_DEADLINE, || {
        scene.shop().add(1, 0);
        program.ended().is_some()
    });
    program.expect_exit(4, RUN_DEADLINE);
    let said = program.stderr();
    let command =
        |topic| format!("kafka-acls.sh --add --allow-principal {principal} --operation Write --topic {topic}");
    assert!(said.contains(&command(&scene.topics.orders)), "{said}");
    for other in [&scene.topics.tracking, &scene.topics.dead_letter] {
        assert!(!said.contains(&command(other)), "{other}: {said}");
    }
    assert!(scene.spooled("page") > 0, "what was read waits");

    change(&["--add"], &write);
    wait::until("the broker allows it again", RUN_DEADLINE, || {
        let mut drain = scene.settings.start(&["drain"]);
        drain.wait(RUN_DEADLINE).success()
    });
    scene.verdict().assert_clean();
}
