use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use proptest::prelude::*;

use super::*;

/// A fake registry that gives prepared answers in turn, and records its requests.
struct Fake {
    base: Url,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn answering<const N: usize>(answers: [(u16, &'static str); N]) -> Self {
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        Self::serving(move |_| {
            let (status, body) = answers.lock().unwrap().next().expect("no more is asked than is answered");
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        })
        .await
    }

    async fn serving(answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let app = Router::new().fallback(move |request: Request| async move {
            let line = format!("{} {}", request.method(), request.uri());
            let answer = answer(&request);
            let auth = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
            let body = axum::body::to_bytes(request.into_body(), MAX_ANSWER).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            log.lock().unwrap().push([line, body, auth].join(" ").trim_end().to_owned());
            answer
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/apis/ccompat/v7/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, asked }
    }

    fn registry(&self) -> Registry {
        Registry::new(self.base.clone(), None, None, Duration::from_secs(10)).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

const NO_SUBJECT: (u16, &str) = (404, r#"{"error_code":40401,"message":"Subject not found"}"#);
const NO_SCHEMA: (u16, &str) = (404, r#"{"error_code":40403,"message":"Schema not found"}"#);
const NO_LEVEL: (u16, &str) = (404, r#"{"error_code":40408,"message":"No config"}"#);

#[tokio::test]
async fn a_schema_that_is_there_is_only_looked_up() {
    let fake = Fake::answering([(200, r#"{"subject":"s","version":1,"id":7}"#)]).await;
    assert_eq!(fake.registry().ensure("a/b-value", r#""int""#, true).await.unwrap(), 7);
    let asked = r#"POST /apis/ccompat/v7/subjects/a%2Fb-value {"schema":"\"int\""}"#;
    assert_eq!(fake.asked(), [asked]);
}

#[tokio::test]
async fn a_new_subject_is_put_under_full_transitive_before_its_first_schema() {
    // The second is Apicurio's answer for a subject without a level.
    for level in [NO_LEVEL, (200, r#"{"compatibilityLevel":"NONE"}"#)] {
        let set = (200, r#"{"compatibility":"FULL_TRANSITIVE"}"#);
        let fake = Fake::answering([NO_SUBJECT, NO_SUBJECT, level, set, (200, r#"{"id":8}"#)]).await;
        assert_eq!(fake.registry().ensure("s", "{}", true).await.unwrap(), 8);
        assert_eq!(
            fake.asked(),
            [
                r#"POST /apis/ccompat/v7/subjects/s {"schema":"{}"}"#,
                r#"POST /apis/ccompat/v7/compatibility/subjects/s/versions/latest?verbose=true {"schema":"{}"}"#,
                "GET /apis/ccompat/v7/config/s",
                r#"PUT /apis/ccompat/v7/config/s {"compatibility":"FULL_TRANSITIVE"}"#,
                r#"POST /apis/ccompat/v7/subjects/s/versions {"schema":"{}"}"#,
            ]
        );
    }
}

#[tokio::test]
async fn a_level_that_somebody_chose_is_left_alone() {
    let (chosen, id) = ((200, r#"{"compatibilityLevel":"BACKWARD"}"#), (200, r#"{"id":8}"#));
    let fake = Fake::answering([NO_SUBJECT, NO_SUBJECT, chosen, id]).await;
    assert_eq!(fake.registry().ensure("s", "{}", true).await.unwrap(), 8);
    let fake = Fake::answering([NO_SCHEMA, (200, r#"{"is_compatible":true}"#), id]).await;
    assert_eq!(fake.registry().ensure("s", "{}", true).await.unwrap(), 8);
}

#[tokio::test]
async fn nothing_is_registered_without_leave() {
    let fake = Fake::answering([NO_SCHEMA]).await;
    let error = fake.registry().ensure("s", "{}", false).await.unwrap_err();
    assert!(matches!(&error, RegistryError::NotRegistered { subject } if subject == "s"), "{error}");
    assert!(!error.is_transient());
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn an_incompatible_schema_is_not_registered_and_the_reason_is_told() {
    let refusal = (200, r#"{"is_compatible":false,"messages":["READER_FIELD_MISSING_DEFAULT_VALUE","x"]}"#);
    let fake = Fake::answering([NO_SCHEMA, refusal]).await;
    let error = fake.registry().ensure("s", "{}", true).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Incompatible { .. }) && !error.is_transient());
    assert!(error.to_string().ends_with("The registry says: READER_FIELD_MISSING_DEFAULT_VALUE; x"), "{error}");

    let fake = Fake::answering([(409, r#"{"error_code":409,"message":"no"}"#)]).await;
    let error = fake.registry().register("s", "{}").await.unwrap_err();
    assert!(matches!(&error, RegistryError::Incompatible { messages, .. } if messages.0 == ["no"]), "{error}");
}

#[tokio::test]
async fn only_what_can_pass_by_itself_is_transient() {
    let cases = [
        (401, "{}", false),
        (403, r#"{"error_code":40301}"#, false),
        (422, r#"{"error_code":42201,"message":"Invalid schema"}"#, false),
        (429, "", true),
        (500, r#"{"error_code":50001}"#, true),
        (503, "<html>", true),
        // Ambiguous causes: a wrong path, a proxy's login page, another service.
        (404, r#"{"detail":"RESTEASY003210"}"#, false),
        (302, "", false),
        (200, "<html>", false),
        (200, "{}", false),
        (200, r#"{"id":4294967296}"#, false),
    ];
    for (status, body, transient) in cases {
        let error = Fake::answering([(status, body)]).await.registry().lookup("s", "{}").await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_transient_and_its_address_is_not_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base: Url = format!("http://{}/hidden", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let error = Registry::new(base, None, None, Duration::from_secs(10)).unwrap().lookup("s", "{}").await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable(_)) && error.is_transient());
    let debug = format!("{error:?}");
    let told = format!("{debug} {:#}", anyhow::Error::from(error));
    assert!(!told.contains("hidden"), "{told}");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_transient() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let registry = Registry::new(base, None, None, Duration::from_millis(50)).unwrap();
    let error = registry.lookup("s", "{}").await.unwrap_err();
    assert!(matches!(error, RegistryError::TimedOut(_)) && error.is_transient());
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let fake = Fake::serving(|_| "x".repeat(MAX_ANSWER + 1).into_response()).await;
    let error = fake.registry().lookup("s", "{}").await.unwrap_err();
    assert!(matches!(error, RegistryError::NotARegistry(_)), "{error}");
}

#[tokio::test]
async fn credentials_go_into_the_header_and_nowhere_else() {
    let fake = Fake::answering([(200, r#"{"id":1}"#)]).await;
    let credentials = Credentials { username: "ana".to_owned(), password: "clave".into() };
    let shown = format!("{credentials:?}");
    let registry = Registry::new(fake.base.clone(), Some(credentials), None, Duration::from_secs(10)).unwrap();
    assert_eq!(registry.lookup("s", "{}").await.unwrap(), Some(1));
    assert!(fake.asked()[0].ends_with(" Basic YW5hOmNsYXZl"));
    assert!(!shown.contains("clave"));
    for bad in ["http://ana:clave@localhost", "http://ana@localhost", "ftp://localhost", "mailto:x"] {
        assert!(
            matches!(Registry::new(bad.parse().unwrap(), None, None, Duration::from_secs(10)), Err(RegistryError::Url)),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_schema_is_found_by_its_id_or_said_not_to_be_there() {
    let fake = Fake::answering([
        (200, r#"{"schema":"\"int\""}"#),
        NO_SCHEMA,
        (200, r#"{"schema":"syntax = \"proto3\";","schemaType":"PROTOBUF"}"#),
    ])
    .await;
    let registry = fake.registry();
    assert_eq!(registry.schema_by_id(3).await.unwrap(), Schema::Int);
    assert!(matches!(registry.schema_by_id(4).await, Err(RegistryError::UnknownId(4))));
    assert!(matches!(registry.schema_by_id(5).await, Err(RegistryError::Unreadable(5))));
    assert_eq!(fake.asked()[0], "GET /apis/ccompat/v7/schemas/ids/3");
}

/// JSON made of the protocol's and Avro's own words, in any place.
fn json_in_its_words() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("record"),
        Just("enum"),
        Just("array"),
        Just("map"),
        Just("fixed"),
        Just("union"),
        Just("bytes"),
        Just("int"),
        Just("decimal"),
        Just("null"),
        Just("a.b"),
        Just(""),
    ];
    let number =
        prop_oneof![any::<i64>().prop_map(Value::from), Just(json!(40401)), Just(json!(1e300)), Just(json!(-1))];
    let leaf = prop_oneof![
        word.prop_map(Value::from),
        number,
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        any::<String>().prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "id",
        "error_code",
        "message",
        "messages",
        "is_compatible",
        "compatibilityLevel",
        "schema",
        "type",
        "name",
        "namespace",
        "aliases",
        "fields",
        "items",
        "values",
        "symbols",
        "size",
        "logicalType",
        "precision",
        "scale",
        "default",
        "order",
    ]);
    leaf.prop_recursive(6, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..8)
                .prop_map(|object| object.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

/// Arbitrary bytes, and bytes that resemble an answer; a schema in it is text, as in the protocol.
fn foreign_body() -> impl Strategy<Value = Vec<u8>> {
    let enveloped = json_in_its_words().prop_map(|schema| json!({ "schema": schema.to_string() }));
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        json_in_its_words().prop_map(|json| json.to_string().into_bytes()),
        enveloped.prop_map(|json| json.to_string().into_bytes()),
    ]
}

fn status() -> impl Strategy<Value = StatusCode> {
    prop::sample::select(vec![200, 204, 302, 400, 401, 404, 404, 409, 422, 429, 500])
        .prop_map(|status| StatusCode::from_u16(status).expect("a status"))
}

proptest! {
    #[test]
    fn whatever_answers_it_is_an_id_a_verdict_or_an_error_of_bearable_length(status in status(), body in foreign_body()) {
        let answer = || RegistryResponse::of(status, &body);
        let errors = [
            answer().id("s").err(),
            answer().found("s").err(),
            answer().verdict("s").err(),
            answer().level("s").err(),
            answer().schema(7).err(),
        ];
        for error in errors.into_iter().flatten() {
            let told = error.to_string();
            prop_assert!(!told.is_empty() && told.chars().count() < 12 * MAX_MESSAGE, "{}", told);
        }
    }
}
