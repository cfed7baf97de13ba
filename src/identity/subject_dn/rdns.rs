//! A subject taken apart, for whoever writes it into a certificate.

use super::{Attribute, SubjectDn, TYPES, Value};

impl SubjectDn {
    /// The RDNs, leaf first, each a set of (dotted OID, value as it was given). Values that are not text are left out.
    pub fn rdns(&self) -> Vec<Vec<(String, String)>> {
        let pair = |attribute: &Attribute| match &attribute.value {
            Value::Text(text) => Some((dotted_type(&attribute.kind), text.clone())),
            Value::Encoded(_) => None,
        };
        let rdns = self.0.rdns.iter();
        rdns.map(|rdn| rdn.iter().filter_map(pair).collect()).collect()
    }
}

fn dotted_type(kind: &str) -> String {
    let known = TYPES.iter().find(|(_, names)| names.contains(&kind));
    known.map_or_else(|| kind.to_owned(), |(oid, _)| (*oid).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_is_put_together_again() {
        let name: SubjectDn = "CN=mx.exemple.fr+OU=1750000001,O=\"CH  EXEMPLE\",2.5.4.99=x,C=FR"
            .parse()
            .unwrap();
        let mut rdns = name.rdns();
        assert_eq!(rdns[0][0], ("2.5.4.3".to_owned(), "mx.exemple.fr".to_owned()));
        rdns.reverse();
        assert_eq!(SubjectDn::from_encoded(rdns).unwrap(), name);
    }
}
