//! DNS queries: any bytes get an answer that belongs to them and fits its transport, or none.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vaguemestre::dns::{MailHost, Records, Service, ServicePlace, Site, Transport, answer};

/// A space of one operator.
static RECORDS: LazyLock<Records> = LazyLock::new(|| {
    let site = Site {
        domains: vec!["lilas.mssante.fr".parse().expect("a domain")],
        mail_hosts: vec![MailHost {
            preference: 10,
            name: "mx.lilas.localhost".to_owned(),
            addresses: vec![([127, 0, 0, 1], 11025).into()],
        }],
        services: vec![ServicePlace {
            service: Service::Imap,
            host: "mx.lilas.localhost".parse().expect("a host"),
            address: ([127, 0, 0, 1], 11143).into(),
        }],
    };
    let web = "espacedeconfiance.localhost".parse().expect("a host");
    Records::new([&site], (&web, IpAddr::V4(Ipv4Addr::LOCALHOST)), 1)
});

fuzz_target!(|query: &[u8]| {
    for (transport, size_max) in [(Transport::Udp, 1232), (Transport::Tcp, 65_535)] {
        let Some(bytes) = answer(&RECORDS, query, transport) else { continue };
        assert!((12..=size_max).contains(&bytes.len()));
        assert_eq!(bytes[..2], query[..2], "it carries the number of the query");
        assert!(query[2] & 0x80 == 0 && bytes[2] & 0x80 != 0, "answers are given to queries only");
        assert!(answer(&RECORDS, &bytes, transport).is_none(), "and never to answers");
    }
});
