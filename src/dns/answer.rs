//! From the bytes of a DNS query to the bytes of its answer: authoritative for our zones, silent or refusing about everything else. Pure.

use hickory_resolver::proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, LowerName, Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use super::records::{Found, Records};

/// How a query came: it bounds the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// At most what the client announced, and what no network splits.
    Udp,
    /// At most what two bytes of length can say.
    Tcp,
}

/// The answer to one query; `None` where none may be given: to what is no query at all, and to answers, which would go back and forth.
pub fn answer(records: &Records, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let header = Header::read(&mut BinDecoder::new(query)).ok()?;
    if header.metadata.message_type == MessageType::Response {
        return None;
    }
    let mut reply = Message::response(header.metadata.id, header.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&header.metadata);
    let Ok(request) = Message::from_vec(query) else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return encode(reply, UDP_BYTES_MIN);
    };
    let size_max = match (transport, &request.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(UDP_BYTES_MIN, UDP_BYTES_MAX),
        (Transport::Udp, None) => UDP_BYTES_MIN,
    };
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX);
        reply.set_edns(edns);
    }
    reply.metadata.response_code = match check(&request) {
        Ok(query) => {
            reply.add_query(query.clone());
            fill(&mut reply, records, query)
        }
        Err(code) => code,
    };
    encode(reply, size_max)
}

/// The one question, if it is one that a name server answers.
fn check(request: &Message) -> Result<&Query, ResponseCode> {
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    // RFC 6891 §6.1.3.
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(ResponseCode::BADVERS);
    }
    match request.queries.as_slice() {
        [query] => Ok(query),
        _ => Err(ResponseCode::FormErr), // RFC 9619 §4
    }
}

fn fill(reply: &mut Message, records: &Records, query: &Query) -> ResponseCode {
    let transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    let found = records.find(&LowerName::from(query.name()));
    let (found, soa, code) = match found {
        Found::NotOurs => return ResponseCode::Refused,
        _ if transfer || query.query_class() != DNSClass::IN => return ResponseCode::Refused,
        Found::NoName(soa) => (&[][..], soa, ResponseCode::NXDomain),
        Found::Name(found, soa) => (found, soa, ResponseCode::NoError),
    };
    reply.metadata.authoritative = true;
    let wanted = found
        .iter()
        .filter(|record| query.query_type() == RecordType::ANY || record.record_type() == query.query_type());
    for record in wanted {
        // The name as it was asked: some resolvers vary its case and compare.
        let mut record = record.clone();
        record.name = query.name().clone();
        add_target(reply, records, &record);
        reply.add_answer(record);
    }
    if reply.answers.is_empty() {
        // RFC 2308 §3: the SOA says for how long "no" may be believed.
        reply.add_authority(soa.clone());
    }
    code
}

/// The addresses of the host that a record names, so that the client need not ask again.
fn add_target(reply: &mut Message, records: &Records, record: &Record) {
    let target: &Name = match &record.data {
        RData::MX(mx) => &mx.exchange,
        RData::SRV(srv) => &srv.target,
        RData::NS(ns) => &ns.0,
        _ => return,
    };
    let Found::Name(found, _) = records.find(&LowerName::from(target)) else {
        return;
    };
    let addresses = found.iter().filter(|r| matches!(r.data, RData::A(_) | RData::AAAA(_)));
    for address in addresses {
        if !reply.additionals.contains(address) {
            reply.add_additional(address.clone());
        }
    }
}

fn encode(mut reply: Message, size_max: u16) -> Option<Vec<u8>> {
    let mut bytes = emit(&reply, size_max)?;
    if is_truncated(&bytes) && !reply.additionals.is_empty() {
        // RFC 2181 §9: what is only a courtesy is left out instead.
        reply.additionals.clear();
        bytes = emit(&reply, size_max)?;
    }
    Some(bytes)
}

fn emit(reply: &Message, size_max: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::from(UDP_BYTES_MIN));
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(size_max);
    match reply.emit(&mut encoder) {
        Ok(()) => Some(bytes),
        Err(error) => {
            tracing::warn!(%error, "a DNS answer cannot be written");
            None
        }
    }
}

/// RFC 1035 §4.1.1: bit TC.
fn is_truncated(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// RFC 1035 §4.2.1: what every client takes.
const UDP_BYTES_MIN: u16 = 512;
/// What passes every network unsplit, as resolvers agreed.
const UDP_BYTES_MAX: u16 = 1232;
