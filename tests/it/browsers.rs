//! Tests of what keeps strangers from the admin server: pages of other sites, other machines, and whoever wants to change
//! something there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::admin::{address, ready};
use crate::support::http;
use crate::support::program::Program;
use crate::support::scene::Scene;

const PATHS: [&str; 8] = ["/", "/status", "/metrics", "/events", "/status.js", "/status.css", "/livez", "/readyz"];
/// All that a browser is told with every answer.
const HEADERS: [(&str, &str); 7] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// A program that runs, and its address.
fn running(hosts: &str) -> (Scene, Program, String) {
    let scene = Scene::new("browsers", SandboxArgs::with_orders(3)).with("IMOTRIZ_ADMIN__HOSTS", hosts);
    let mut program = scene.settings.start(&["run"]);
    let url = address(&mut program);
    ready(&url);
    (scene, program, url)
}

/// The status of an answer, and its headers.
fn ask(method: Method, url: &str, headers: &[(&str, &str)]) -> (StatusCode, BTreeMap<String, String>) {
    http::block_on(async {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        let request =
            headers.iter().fold(client.request(method, url), |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.unwrap();
        let headers =
            answer.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        (answer.status(), headers.collect())
    })
}

fn assert_headers(headers: &BTreeMap<String, String>, of: &str) {
    for (name, value) in HEADERS {
        assert_eq!(headers.get(name).map(String::as_str), Some(value), "{name} of {of}");
    }
}

#[test]
fn by_default_it_listens_to_this_machine_alone() {
    let scene = Scene::new("browsers", SandboxArgs::with_orders(0)).without("IMOTRIZ_ADMIN__LISTEN");
    let shown: Value = serde_json::from_str(&scene.run(&["--json", "config", "show"], 0).stdout()).unwrap();
    assert_eq!(shown["settings"]["admin"]["listen"], "127.0.0.1:9464");
    // Such an address is no other one of the same machine's either.
    let (_scene, _program, url) = running("");
    let port = url.rsplit(':').next().unwrap();
    assert!(TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    assert!(TcpStream::connect(format!("127.0.0.2:{port}")).is_err());
}

#[test]
fn every_answer_tells_browsers_to_load_nothing_from_elsewhere_and_to_show_it_nowhere_else() {
    let (_scene, _program, url) = running("");
    for path in PATHS {
        let (status, headers) = ask(Method::GET, &format!("{url}{path}"), &[]);
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_headers(&headers, path);
        assert!(headers.contains_key("content-type"), "nothing is left to guess: {path}");
        // Nobody else's page may read it.
        let (_, headers) = ask(Method::GET, &format!("{url}{path}"), &[("origin", "https://evil.example")]);
        assert!(!headers.keys().any(|name| name.starts_with("access-control-")), "{path}: {headers:?}");
    }
    assert_headers(&ask(Method::GET, &format!("{url}/nowhere"), &[]).1, "404");
    assert_headers(&ask(Method::POST, &url, &[]).1, "405");
    assert_headers(&ask(Method::GET, &url, &[("host", "evil.example")]).1, "403");
}

#[test]
fn only_get_is_answered() {
    let (_scene, _program, url) = running("");
    for path in PATHS {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
            let asked = ask(method.parse().unwrap(), &format!("{url}{path}"), &[]);
            assert_eq!(asked.0, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
}

#[test]
fn a_name_that_another_site_points_here_is_refused_everywhere() {
    let (_scene, _program, url) = running("producer.shop.svc");
    let port = url.rsplit(':').next().unwrap();
    for path in PATHS {
        let to = |host: &str| ask(Method::GET, &format!("{url}{path}"), &[("host", host)]).0;
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "shop.svc", "a.producer.shop.svc"]
        {
            for host in [host.to_owned(), format!("{host}:{port}"), format!("{host}.")] {
                assert_eq!(to(&host), StatusCode::FORBIDDEN, "{host}{path}");
            }
        }
        for host in ["127.0.0.1", "localhost", "producer", "producer.shop.svc"] {
            assert_eq!(to(&format!("{host}:{port}")), StatusCode::OK, "{host}{path}");
        }
    }
    // The whole URL in the request's first line counts before the header.
    for request in [
        format!("GET http://evil.example/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"),
        "GET /status HTTP/1.0\r\n\r\n".to_owned(),
    ] {
        let mut connection = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some("403"), "{answer}");
    }
}

#[test]
fn the_page_its_style_and_its_script_name_no_other_host() {
    let (_scene, _program, url) = running("");
    for path in ["/", "/?lang=es", "/status.js", "/status.css"] {
        let text = http::get(&format!("{url}{path}")).1;
        for outside in ["http:", "https:", "\"//", "'//", "=//", "(//", "@import", "url(", "data:", "eval("] {
            assert!(!text.contains(outside), "{outside} in {path}");
        }
    }
}
