use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::marketplace::client::{Client, Paths, Read};

/// What a server does with a connection, after it has answered a number of requests.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Closes it in good order, at once.
    Close,
    /// Resets it.
    Reset,
    /// Takes one more request, and closes it without an answer.
    CloseAfterRequest,
}

/// A marketplace without orders that closes connections, and knows each request by its token.
#[derive(Debug, Default)]
struct Server {
    requests: Mutex<BTreeMap<String, usize>>,
    connections: AtomicUsize,
}

impl Server {
    async fn start(ends: &'static [(usize, End)]) -> (Arc<Self>, String) {
        let (server, listener) = (Arc::<Self>::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let number = serving.connections.fetch_add(1, Ordering::SeqCst);
                let (answers, end) = ends[number % ends.len()];
                tokio::spawn(serving.clone().serve(connection, answers, end));
            }
        });
        (server, url)
    }

    async fn serve(self: Arc<Self>, mut connection: TcpStream, answers: usize, end: End) {
        for _ in 0..answers {
            if !self.receive(&mut connection).await {
                return;
            }
            connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
        match end {
            End::Close => {}
            End::Reset => connection.set_zero_linger().unwrap(),
            End::CloseAfterRequest => drop(self.receive(&mut connection).await),
        }
    }

    /// Receives one request, and says whether one came.
    async fn receive(&self, connection: &mut TcpStream) -> bool {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if connection.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return false;
            }
        }
        let head = String::from_utf8(head).unwrap();
        let token = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap();
        *self.requests.lock().unwrap().entry(token.to_owned()).or_default() += 1;
        true
    }

    fn requests(&self, token: &str) -> usize {
        self.requests.lock().unwrap().get(token).copied().unwrap_or(0)
    }
}

fn client(url: &str, connections: &Connections) -> Client {
    let minute = Duration::from_secs(60);
    let options = ClientOptions {
        base_url: url.parse().unwrap(),
        paths: Paths { new_orders: "/new".to_owned(), order_ids: "/ids".to_owned(), order: "/order/{id}".to_owned() },
        list_page_parameter: None,
        authorities: None,
        connect_timeout: minute,
        idle_timeout: minute,
        total_timeout: minute,
        max_body: 1 << 20,
    };
    Client::new(options, connections).unwrap()
}

#[derive(Debug, Default)]
struct Outcomes {
    answered: usize,
    not_sent: usize,
    unknown: usize,
}

/// Reads so many times, by several shops at once, and holds each outcome against what has come to the server.
async fn outcomes(server: &Server, url: &str, reads: usize) -> Outcomes {
    let connections = Connections::default();
    let mut shops = JoinSet::new();
    for shop in 0..8 {
        let client = client(url, &connections);
        shops.spawn(async move {
            let mut outcomes = Vec::new();
            for read in 0..reads / 8 {
                let token = format!("{shop}-{read}");
                outcomes.push((token.clone(), client.new_orders(&token.into()).await));
            }
            outcomes
        });
    }
    let mut outcomes = Outcomes::default();
    for (token, outcome) in shops.join_all().await.into_iter().flatten() {
        let (counted, expected) = match outcome {
            Read::NoOrders(_) => (&mut outcomes.answered, 1..=1),
            Read::NotSent { .. } => (&mut outcomes.not_sent, 0..=0),
            Read::Unknown(_) => (&mut outcomes.unknown, 0..=1),
            other => panic!("{other:?}"),
        };
        *counted += 1;
        let came = server.requests(&token);
        assert!(expected.contains(&came), "the server got request {token} {came} times");
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_is_never_sent_twice_however_its_connection_ends() {
    let (server, url) = Server::start(&[
        (1, End::Close),
        (2, End::CloseAfterRequest),
        (1, End::Reset),
        (5, End::Close),
        (0, End::CloseAfterRequest),
        (3, End::Reset),
        (0, End::Close),
    ])
    .await;
    let outcomes = outcomes(&server, &url, 4000).await;
    let unanswered = server.requests.lock().unwrap().len() - outcomes.answered;
    assert!(unanswered > 0 && outcomes.unknown >= unanswered, "{outcomes:?}");
    assert!(server.connections.load(Ordering::SeqCst) < 4000, "connections are used again");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_nobody_used_it_costs_no_read() {
    let (server, url) = Server::start(&[(1, End::Close), (1, End::Reset)]).await;
    let client = client(&url, &Connections::default());
    for read in 0..100 {
        assert!(matches!(client.new_orders(&read.to_string().into()).await, Read::NoOrders(_)), "read {read}");
        // The connection is now seen to be closed before the next request: both run on this thread.
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(server.requests(&read.to_string()), 1);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 100);
}

#[tokio::test]
async fn shops_share_connections() {
    let (server, url) = Server::start(&[(1000, End::Close)]).await;
    let connections = Connections::default();
    for shop in 0..50 {
        let client = client(&url, &connections);
        assert!(matches!(client.new_orders(&shop.to_string().into()).await, Read::NoOrders(_)));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}
