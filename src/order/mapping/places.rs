//! The JSON pointers under which each field is looked for: settings, with defaults that accept the likely spellings.
//!
//! Only `order.total`, the products' five fields and the buyer's `name`, `email`, `mobile`, `address` and `city` are
//! known from a client of the API; the other defaults are guesses. A guess that finds nothing does no harm, since
//! unmapped fields travel in `extra`. A guess that finds a value of the wrong kind is skipped. The ID is the exception:
//! it is taken from the first pointer that finds anything, because under a wrong ID the order would be a different one.

use serde::{Deserialize, Deserializer, Serialize};

use super::pointer::Pointers;

/// Keys under which an object may hold an order's ID, the likeliest first.
pub(crate) const ID_NAMES: [&str; 5] = ["id", "order_id", "transaction_id", "id_transaction", "id_order"];

/// Where each field of an event is looked for in a record. A section or field that the settings omit keeps its default;
/// one that they set replaces it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    /// Fields of the order: pointers into the record.
    #[serde(deserialize_with = "section")]
    pub order: OrderPlaces,
    #[serde(deserialize_with = "section")]
    pub buyer: BuyerPlaces,
    #[serde(deserialize_with = "section")]
    pub products: ProductPlaces,
}

/// Pointers into the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderPlaces {
    /// The only mandatory field.
    pub id: Pointers,
    pub status: Pointers,
    pub payment_status: Pointers,
    pub payment_method: Pointers,
    /// A code of three letters; if it is missing, the country's currency is used.
    pub currency: Pointers,
    pub created_at: Pointers,
    pub updated_at: Pointers,
    pub total: Pointers,
    pub subtotal: Pointers,
    pub shipping: Pointers,
    pub discount: Pointers,
    pub tax: Pointers,
}

/// Pointers into the object that `at` finds in the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuyerPlaces {
    /// Pointers to the buyer in the record; the other pointers are relative to it.
    pub at: Pointers,
    pub name: Pointers,
    pub email: Pointers,
    pub mobile: Pointers,
    pub document: Pointers,
    pub address: Pointers,
    pub city: Pointers,
    pub region: Pointers,
    pub postal_code: Pointers,
}

/// Pointers into each entry of the list that `at` finds in the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProductPlaces {
    /// Pointers to the list of products in the record; the other pointers are relative to each entry.
    pub at: Pointers,
    pub code: Pointers,
    pub name: Pointers,
    pub quantity: Pointers,
    pub unit_price: Pointers,
    pub unit_price_before: Pointers,
}

/// A section of the settings.
trait Section: Default {
    fn fields(&mut self) -> Vec<&mut Pointers>;
}

fn section<'de, S: Section + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<S, D::Error> {
    let mut section = S::deserialize(deserializer)?;
    let mut defaults = S::default();
    for (field, default) in section.fields().into_iter().zip(defaults.fields()) {
        field.recognise(default);
    }
    Ok(section)
}

// Destructuring names each field, so that the compiler reports a forgotten one.

impl Section for OrderPlaces {
    fn fields(&mut self) -> Vec<&mut Pointers> {
        let Self {
            id,
            status,
            payment_status,
            payment_method,
            currency,
            created_at,
            updated_at,
            total,
            subtotal,
            shipping,
            discount,
            tax,
        } = self;
        let texts = [id, status, payment_status, payment_method, currency, created_at, updated_at];
        texts.into_iter().chain([total, subtotal, shipping, discount, tax]).collect()
    }
}

impl Section for BuyerPlaces {
    fn fields(&mut self) -> Vec<&mut Pointers> {
        let Self { at, name, email, mobile, document, address, city, region, postal_code } = self;
        vec![at, name, email, mobile, document, address, city, region, postal_code]
    }
}

impl Section for ProductPlaces {
    fn fields(&mut self) -> Vec<&mut Pointers> {
        let Self { at, code, name, quantity, unit_price, unit_price_before } = self;
        vec![at, code, name, quantity, unit_price, unit_price_before]
    }
}

impl Default for OrderPlaces {
    fn default() -> Self {
        Self {
            id: paths(&["/order", ""], &ID_NAMES),
            status: order(&["status", "order_status", "transaction_status", "state", "estado"]),
            payment_status: order(&["payment_status", "payment_state", "status_payment", "estado_pago"]),
            payment_method: order(&["payment_method", "payment_type", "metodo_pago", "forma_pago"]),
            currency: order(&["currency", "currency_code", "moneda", "currency/code"]),
            created_at: order(&[
                "created_at",
                "created",
                "date_created",
                "creation_date",
                "date",
                "order_date",
                "fecha",
            ]),
            updated_at: order(&["updated_at", "updated", "date_updated", "modified_at", "date_modified"]),
            total: order(&["total", "total_amount", "grand_total", "order_total"]),
            subtotal: order(&["subtotal", "sub_total"]),
            shipping: order(&["shipping_cost", "shipping_price", "shipping_total", "shipping", "envio"]),
            discount: order(&["discount_total", "total_discount", "discount_amount", "discount", "descuento"]),
            tax: order(&["tax_total", "total_tax", "tax_amount", "tax", "iva"]),
        }
    }
}

impl Default for BuyerPlaces {
    fn default() -> Self {
        Self {
            at: at(&["", "/order"], &["buyer", "customer", "client", "comprador"]),
            name: here(&["name", "full_name", "fullname", "nombre"]),
            email: here(&["email", "mail", "correo"]),
            mobile: here(&["mobile", "phone", "cellphone", "telephone", "celular", "telefono"]),
            document: here(&["document", "document_number", "identification", "tax_id", "dni", "nit", "cedula", "rfc"]),
            address: here(&["address", "address_1", "street", "direccion"]),
            city: here(&["city", "municipality", "ciudad"]),
            region: here(&["region", "state", "department", "province", "departamento", "estado", "provincia"]),
            postal_code: here(&["postal_code", "zip_code", "zip", "postcode", "codigo_postal"]),
        }
    }
}

impl Default for ProductPlaces {
    fn default() -> Self {
        Self {
            at: at(&["", "/order"], &["products", "items", "lines", "productos"]),
            code: here(&["code", "sku", "product_code", "reference", "ref", "codigo"]),
            name: here(&["name", "product_name", "title", "nombre"]),
            quantity: here(&["quantity", "qty", "cantidad"]),
            unit_price: here(&["unit_price", "price", "precio"]),
            unit_price_before: here(&["unit_price_before", "price_before", "precio_antes"]),
        }
    }
}

/// Pointers to these keys inside `order`, then at the top for records without `order`.
fn order(names: &[&str]) -> Pointers {
    at(&["/order", ""], names)
}

fn here(names: &[&str]) -> Pointers {
    at(&[""], names)
}

fn at(prefixes: &[&str], names: &[&str]) -> Pointers {
    paths(prefixes, names).guessed()
}

fn paths(prefixes: &[&str], names: &[&str]) -> Pointers {
    let texts = prefixes.iter().flat_map(|prefix| names.iter().map(move |name| format!("{prefix}/{name}")));
    texts.map(|text| text.parse().expect("it begins with a slash and has no tilde")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_replaces_its_default_and_no_other() {
        let mapping: Mapping = toml::from_str(
            r#"
            order.id = "/transaction/folio"
            order.total = ["/transaction/total", "/order/total"]
            order.tax = []
            buyer.at = "/transaction/client"
            "#,
        )
        .unwrap();
        let shown = |pointers: &Pointers| pointers.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&mapping.order.id), ["/transaction/folio"]);
        assert_eq!(shown(&mapping.order.total), ["/transaction/total", "/order/total"]);
        assert!(shown(&mapping.order.tax).is_empty());
        assert_eq!(mapping.order.status, OrderPlaces::default().status);
        assert_eq!(mapping.buyer.name, BuyerPlaces::default().name);
        assert_eq!(mapping.products, ProductPlaces::default());
    }

    #[test]
    fn what_the_settings_say_is_no_guess_unless_it_is_the_default() {
        let mapping: Mapping = toml::from_str(
            r#"
            order.shipping = "/order/shipping"
            products.quantity = ["/quantity", "/qty", "/cantidad"]
            buyer.city = []
            "#,
        )
        .unwrap();
        assert!(!mapping.order.shipping.is_guess() && !mapping.buyer.city.is_guess());
        assert!(mapping.products.quantity.is_guess() && mapping.order.total.is_guess() && mapping.buyer.at.is_guess());
        assert!(!mapping.order.id.is_guess(), "no order under an ID that may be another thing's");
    }

    #[test]
    fn settings_survive_being_shown_and_read_back() {
        let mapping = Mapping::default();
        assert_eq!(toml::from_str::<Mapping>(&toml::to_string(&mapping).unwrap()).unwrap(), mapping);
    }

    #[test]
    fn a_name_that_is_no_field_and_a_text_that_is_no_pointer_are_refused() {
        for (settings, expected) in [
            ("order.idd = '/id'", "unknown field `idd`"),
            ("lines.at = '/id'", "unknown field `lines`"),
            ("order.id = 'order.id'", "begins with `/`"),
            ("order.id = ['/id', 'x']", "begins with `/`"),
        ] {
            let error = toml::from_str::<Mapping>(settings).unwrap_err().to_string();
            assert!(error.contains(expected), "{settings}: {error}");
        }
    }
}
