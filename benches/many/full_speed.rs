//! Many shops at once, compared with one shop that has all the orders.

use jiff::Timestamp;

use super::marketplace::Marketplace;
use super::measure::thousands;
use super::program::{POLL_INTERVAL, Setup};
use super::{Kafka, Options, row};

struct Case {
    name: &'static str,
    shops: usize,
    delay: &'static str,
}

const MANY: Case = Case { name: "100 shops at 50 ms", shops: 100, delay: "50ms" };
const ONE: Case = Case { name: "one shop at 0 ms", shops: 1, delay: "0s" };

/// Drains that nobody measures, for a broker that is new.
const WARM_UP: usize = 3;

struct Drain {
    /// Orders a second, from the first read to the last commit.
    rate: f64,
    /// Seconds of CPU time for each order.
    cpu: f64,
    /// The marketplace's, for each answer.
    answer: f64,
}

impl Case {
    fn drain(&self, kafka: &Kafka, options: &Options, orders: usize) -> Drain {
        let marketplace = Marketplace::open(self.shops, orders / self.shops, &["--delay", self.delay]);
        let setup = Setup::new(kafka, &marketplace, self.shops, POLL_INTERVAL, options.lanes);
        let setup = setup.with_in_flight(self.shops);
        let before = marketplace.usage().cpu;
        let drained = setup.drain(super::open_files());
        let answers = marketplace.reads() as f64;
        let answer = (marketplace.usage().cpu - before).as_secs_f64() / answers;
        assert_eq!(drained.summary["published"], orders, "{}", drained.summary);
        let first = marketplace.first_reads()[0];
        let last: Timestamp = drained.summary["last_commit"].as_str().unwrap().parse().unwrap();
        Drain {
            rate: orders as f64 / last.duration_since(first).as_secs_f64(),
            cpu: drained.cpu.as_secs_f64() / orders as f64,
            answer,
        }
    }

    fn report(&self, drains: &[Drain]) {
        let figures = |decimals: usize, figure: fn(&Drain) -> f64| {
            let mut figures: Vec<f64> = drains.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            let shown = |at: usize| match decimals {
                0 => thousands(figures[at]),
                _ => format!("{:.decimals$}", figures[at]),
            };
            format!("{} ({}–{})", shown(figures.len() / 2), shown(0), shown(figures.len() - 1))
        };
        row(&format!("{}: published /s, until committed", self.name), &figures(0, |drain| drain.rate), "");
        row(
            &format!("{}: CPU of the whole process an order, µs", self.name),
            &figures(1, |drain| drain.cpu * 1e6),
            if self.shops > 1 { "≤ 35" } else { "" },
        );
        row(
            &format!("{}: the marketplace's CPU an answer, µs", self.name),
            &figures(0, |drain| drain.answer * 1e6),
            "",
        );
    }
}

pub fn measure(kafka: &Kafka, options: &Options) {
    let orders = options.scaled(30_000, 3_000);
    for _ in 0..options.scaled(WARM_UP, 1) {
        ONE.drain(kafka, options, orders);
    }
    let (mut many, mut one) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        many.push(MANY.drain(kafka, options, orders));
        one.push(ONE.drain(kafka, options, orders));
    }
    MANY.report(&many);
    ONE.report(&one);
    let mut ratios: Vec<f64> = many.iter().zip(&one).map(|(many, one)| many.rate / one.rate).collect();
    ratios.sort_by(f64::total_cmp);
    row("published /s, the first ÷ the second", &format!("{:.2}", ratios[ratios.len() / 2]), "≥ 0.9");
}
