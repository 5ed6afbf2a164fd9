//! Made-up orders of people who don't exist, the same for the same seed, in the marketplace's format.
//!
//! Some are as PHP writes them: amounts as strings or numbers, empty objects as lists, nulls for unknown values, and
//! undocumented fields.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Number, Value, json};

use crate::order::country::Country;
use crate::order::ids::OrderId;

/// An order's ID and JSON text.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) id: OrderId,
    pub(super) json: String,
}

/// Makes up orders, one after another.
#[derive(Debug)]
pub(super) struct Orders {
    chance: StdRng,
    country: Country,
    zone: TimeZone,
    last_id: u64,
}

impl Orders {
    /// `first_id` is less than all IDs.
    pub(super) fn new(country: Country, seed: u64, first_id: u64) -> Self {
        Self {
            chance: StdRng::seed_from_u64(seed),
            country,
            zone: TimeZone::get(country.time_zone()).unwrap_or(TimeZone::UTC),
            last_id: first_id,
        }
    }

    /// Continues behind an order that an earlier process made up, so that no ID comes twice.
    pub(super) fn go_on_after(&mut self, id: &OrderId) {
        self.last_id = id.as_str().parse().unwrap_or(self.last_id);
    }

    /// Makes up the next order, placed at this time. IDs grow, with gaps.
    pub(super) fn next(&mut self, created: Timestamp) -> Record {
        self.last_id += self.chance.random_range(1..=7);
        let id = self.last_id;
        let words = self.numbers_or_text();
        let lines = self.lines();
        let record = json!({
            "order": self.order(id, created, &lines, words),
            "products": lines.iter().map(|line| self.product(line, words)).collect::<Vec<_>>(),
            "buyer": self.buyer(),
        });
        let id = id.to_string().parse().expect("digits are an order ID");
        Record { id, json: record.to_string() }
    }

    fn order(&mut self, id: u64, created: Timestamp, lines: &[Line], amount: Amount) -> Value {
        let subtotal: i64 = lines.iter().map(|line| line.price * line.quantity).sum();
        let discount = if self.one_in(5) { self.round(subtotal / 10) } else { 0 };
        let cents = self.chance.random_range(250..900);
        let shipping = if self.one_in(4) { 0 } else { self.round(cents * self.rate()) };
        let paid = !self.one_in(6);
        let updated = created + SignedDuration::from_secs(self.chance.random_range(5..600));
        json!({
            "id": id,
            "reference": format!("IM-{}-{id}", self.country.code()),
            "status": self.pick(if paid { &["pagado", "en preparación", "enviado"] } else { &["pendiente"] }),
            "payment_status": if paid { "approved" } else { "pending" },
            "payment_method": self.pick(payment_methods(self.country)),
            "currency": self.country.currency(),
            "created_at": self.local(created),
            "updated_at": if self.one_in(8) { Value::Null } else { self.local(updated).into() },
            "subtotal": amount(subtotal),
            "shipping": amount(shipping),
            "discount": amount(discount),
            "total": amount(subtotal + shipping - discount),
            "coupon": if discount > 0 { json!({"code": "MOTO10", "percent": 10}) } else { json!([]) },
            "notes": self.pick(&[None, Some(""), Some("Entregar en portería, por favor 🙏"), Some("Llamar antes")]),
            "utm_source": self.pick(&[None, Some("google"), Some("instagram")]),
        })
    }

    fn product(&mut self, line: &Line, amount: Amount) -> Value {
        json!({
            "code": line.code,
            "name": line.name,
            "quantity": if self.one_in(3) { json!(line.quantity.to_string()) } else { json!(line.quantity) },
            "unit_price": amount(line.price),
            "unit_price_before": if line.before > line.price { amount(line.before) } else { Value::Null },
            "brand": self.pick(&[None, Some("Yokomitsu"), Some("Ñandú Parts"), Some("Éxodo")]),
            "warranty_months": self.pick(&[0, 3, 6, 12]),
        })
    }

    fn buyer(&mut self) -> Value {
        let first = self.pick(FIRST_NAMES);
        let last = format!("{} {}", self.pick(LAST_NAMES), self.pick(LAST_NAMES));
        let place = self.pick(places(self.country));
        let mut buyer = Map::new();
        buyer.insert("name".into(), format!("{first} {last}").into());
        buyer.insert("email".into(), self.email(first).into());
        buyer.insert("mobile".into(), self.mobile().into());
        buyer.insert("document".into(), if self.one_in(7) { Value::Null } else { self.digits(10).into() });
        buyer.insert("address".into(), self.address().into());
        buyer.insert("city".into(), place.0.into());
        buyer.insert("state".into(), place.1.into());
        if self.one_in(3) {
            buyer.insert("postal_code".into(), self.digits(6).into());
        }
        if self.one_in(4) {
            buyer.insert("company".into(), "Talleres El Piñón S.A.S.".into());
        }
        buyer.into()
    }

    fn lines(&mut self) -> Vec<Line> {
        let count = self.pick(&[1, 1, 1, 2, 2, 3, 5]);
        (0..count).map(|_| self.line()).collect()
    }

    fn line(&mut self) -> Line {
        let (name, cents) = self.pick(PRODUCTS);
        let percent = self.chance.random_range(90..=110);
        let list = self.round(cents * self.rate() * percent / 100);
        let price = if self.one_in(3) { self.round(list * 85 / 100) } else { list };
        let code = format!("{}-{}", self.pick(&["MT", "RP", "ACC", "LL"]), self.digits(5));
        Line { code, name, quantity: self.pick(&[1, 1, 1, 2, 4]), price, before: list }
    }

    fn email(&mut self, first: &str) -> String {
        let plain: String = first.to_lowercase().chars().filter(char::is_ascii_alphabetic).collect();
        format!("{plain}{}@example.com", self.digits(3))
    }

    fn mobile(&mut self) -> String {
        match self.country {
            Country::Co => format!("+57 3{}", self.digits(9)),
            Country::Mx => format!("+52 55 {}", self.digits(8)),
            Country::Ec => format!("09{}", self.digits(8)),
            Country::Cr => format!("+506 8{}", self.digits(7)),
        }
    }

    fn address(&mut self) -> String {
        let (a, b, c) =
            (self.chance.random_range(1..180), self.chance.random_range(1..99), self.chance.random_range(1..99));
        match self.country {
            Country::Co => format!("Calle {a} # {b}-{c}, apto {b}01"),
            Country::Mx => format!("Av. Benito Juárez {a}, Int. {b}, Col. Peñón"),
            Country::Ec => format!("Av. Río Amazonas N{a}-{b} y Cañar"),
            Country::Cr => format!("{a} m norte de la iglesia, casa {b}, portón café"),
        }
    }

    /// About how many hundredths of the currency one US cent is.
    fn rate(&self) -> i64 {
        match self.country {
            Country::Co => 4_000,
            Country::Mx => 18,
            Country::Ec => 1,
            Country::Cr => 520,
        }
    }

    /// Rounds to usual prices: Colombian ones have no decimals, Costa Rican ones are multiples of five.
    fn round(&self, hundredths: i64) -> i64 {
        let step = match self.country {
            Country::Co => 10_000,
            Country::Mx => 50,
            Country::Ec => 1,
            Country::Cr => 500,
        };
        hundredths / step * step
    }

    fn local(&self, time: Timestamp) -> String {
        time.to_zoned_datetime(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn numbers_or_text(&mut self) -> Amount {
        if self.one_in(4) { amount_as_number } else { amount_as_text }
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(self.chance.random_range(b'0'..=b'9'))).collect()
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.chance.random_ratio(1, n)
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.chance.random_range(0..among.len())]
    }
}

/// An order line. Prices are in hundredths of the currency.
struct Line {
    code: String,
    name: &'static str,
    quantity: i64,
    price: i64,
    before: i64,
}

/// Renders an amount in hundredths of the currency.
type Amount = fn(i64) -> Value;

fn amount_as_text(hundredths: i64) -> Value {
    format!("{}.{:02}", hundredths / 100, hundredths % 100).into()
}

fn amount_as_number(hundredths: i64) -> Value {
    if hundredths % 100 == 0 {
        return (hundredths / 100).into();
    }
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    text.parse::<Number>().map_or(Value::Null, Value::Number)
}

fn payment_methods(country: Country) -> &'static [&'static str] {
    match country {
        Country::Co => &["PSE", "Nequi", "tarjeta de crédito", "Efecty", "contraentrega"],
        Country::Mx => &["OXXO", "SPEI", "tarjeta de crédito"],
        Country::Ec => &["transferencia", "tarjeta de débito", "contraentrega"],
        Country::Cr => &["SINPE Móvil", "tarjeta de crédito"],
    }
}

/// Cities with their regions.
fn places(country: Country) -> &'static [(&'static str, &'static str)] {
    match country {
        Country::Co => &[
            ("Bogotá D.C.", "Cundinamarca"),
            ("Medellín", "Antioquia"),
            ("Cali", "Valle del Cauca"),
            ("Cúcuta", "Norte de Santander"),
            ("Ibagué", "Tolima"),
            ("Montería", "Córdoba"),
        ],
        Country::Mx => &[
            ("Ciudad de México", "CDMX"),
            ("Mérida", "Yucatán"),
            ("León", "Guanajuato"),
            ("San Luis Potosí", "S.L.P."),
            ("Cancún", "Quintana Roo"),
        ],
        Country::Ec => &[("Quito", "Pichincha"), ("Guayaquil", "Guayas"), ("Cañar", "Cañar"), ("Ambato", "Tungurahua")],
        Country::Cr => &[
            ("San José", "San José"),
            ("Limón", "Limón"),
            ("Cañas", "Guanacaste"),
            ("Pérez Zeledón", "San José"),
            ("Heredia", "Heredia"),
        ],
    }
}

const FIRST_NAMES: &[&str] = &[
    "María José",
    "Andrés",
    "Ángela",
    "José Ramón",
    "Begoña",
    "Íñigo",
    "Lucía",
    "Óscar",
    "Zoé",
    "Camilo",
    "Yésica",
    "Raúl 🏍️",
    "D'Artagnan",
];

const LAST_NAMES: &[&str] = &[
    "Muñoz",
    "Peña",
    "Güell",
    "Ibáñez",
    "Rodríguez",
    "Ñáñez",
    "Chacón",
    "Ordóñez",
    "Quispe",
    "Solís",
    "Vélez",
    "Agüero",
];

/// Products with their prices in US cents.
const PRODUCTS: &[(&str, i64)] = &[
    ("Llanta 110/90-17 doble propósito", 5_290),
    ("Kit de arrastre 428H × 120L", 3_175),
    ("Casco integral \"Cóndor\" talla M", 7_999),
    ("Pastillas de freno delanteras (cerámica)", 1_245),
    ("Aceite 20W-50 4T semisintético 1 L", 899),
    ("Bujía de iridio CR8EIX", 1_399),
    ("Batería de gel YTX7L-BS 12 V", 4_250),
    ("Guaya de acelerador – 1,10 m", 610),
    ("Exploradoras LED 40 W 💡 (par)", 2_899),
    ("Maletero / baúl 45 L c/ espaldar", 6_450),
    ("Espejo retrovisor izq. <universal> & tornillería", 780),
    ("Amortiguador trasero de gas 🔧", 11_990),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn records(country: Country, seed: u64) -> Vec<Record> {
        let mut orders = Orders::new(country, seed, 4_810_000);
        let time: Timestamp = "2026-11-20T19:03:11Z".parse().unwrap();
        (0..200).map(|_| orders.next(time)).collect()
    }

    fn hundredths(amount: &Value) -> i64 {
        let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        let (whole, part) = text.split_once('.').unwrap_or((&text, "00"));
        assert_eq!(part.len(), 2, "{text}");
        whole.parse::<i64>().unwrap() * 100 + part.parse::<i64>().unwrap()
    }

    #[test]
    fn a_seed_gives_the_same_orders_again_and_another_seed_gives_others() {
        let texts = |seed| records(Country::Co, seed).into_iter().map(|record| record.json).collect::<Vec<_>>();
        assert_eq!(texts(1), texts(1));
        assert_ne!(texts(1), texts(2));
    }

    #[test]
    fn the_amounts_of_every_order_add_up() {
        for country in Country::ALL {
            for record in records(country, 3) {
                let value: Value = serde_json::from_str(&record.json).unwrap();
                let order = &value["order"];
                let of = |name: &str| hundredths(&order[name]);
                assert_eq!(of("total"), of("subtotal") + of("shipping") - of("discount"));
                let lines = value["products"].as_array().unwrap().iter().map(|line| {
                    let quantity = &line["quantity"];
                    let quantity: i64 =
                        quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned).parse().unwrap();
                    hundredths(&line["unit_price"]) * quantity
                });
                assert_eq!(lines.sum::<i64>(), of("subtotal"));
                assert!(country != Country::Co || of("total") % 100 == 0);
                assert_eq!(order["currency"], country.currency());
            }
        }
    }

    #[test]
    fn dates_are_local_and_without_a_zone() {
        let first: Value = serde_json::from_str(&records(Country::Co, 1)[0].json).unwrap();
        assert_eq!(first["order"]["created_at"], "2026-11-20 14:03:11");
    }

    #[test]
    fn the_awkward_cases_occur() {
        let all: String = records(Country::Mx, 1).into_iter().map(|record| record.json).collect();
        for awkward in ["ñ", "🏍️", "null", "\"coupon\":[]", "\"total\":\"", "\"notes\":\"\"", "\\\"Cóndor\\\""] {
            assert!(all.contains(awkward), "{awkward}");
        }
        assert!(records(Country::Mx, 1).iter().any(|record| {
            let value: Value = serde_json::from_str(&record.json).unwrap();
            value["order"]["total"].is_number()
        }));
    }
}
