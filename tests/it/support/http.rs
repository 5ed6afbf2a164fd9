//! A blocking HTTP client, for tests with and without an async runtime.

use std::thread;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a future to its end, also where the calling thread belongs to a runtime already.
pub fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    thread::scope(|scope| scope.spawn(run).join()).expect("the future does not panic")
}

/// Status and body, or `None` when nobody answers.
pub fn try_get(url: &str) -> Option<(u16, String)> {
    send(Method::GET, url, None).ok()
}

/// Status and body.
pub fn get(url: &str) -> (u16, String) {
    send(Method::GET, url, None).unwrap()
}

/// Sends JSON; status and body.
pub fn post(url: &str, json: &Value) -> (u16, String) {
    send(Method::POST, url, Some(json)).unwrap()
}

/// Sends JSON; status and body.
pub fn put(url: &str, json: &Value) -> (u16, String) {
    send(Method::PUT, url, Some(json)).unwrap()
}

fn send(method: Method, url: &str, json: Option<&Value>) -> reqwest::Result<(u16, String)> {
    block_on(async {
        let mut request = Client::builder().timeout(DEADLINE).no_proxy().build()?.request(method, url);
        if let Some(json) = json {
            request = request.header("content-type", "application/json").body(json.to_string());
        }
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    })
}
