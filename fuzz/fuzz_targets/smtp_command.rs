//! Command lines of SMTP: any bytes are a command or get a reply of one class, and what a client asked for at MAIL and RCPT survives the queue.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::queue::Parameters;
use vaguemestre::smtp::{Command, MailFrom, RcptTo, Reply};

fuzz_target!(|lines: &[u8]| {
    let mut mail = MailFrom::default();
    for line in lines.split(|byte| *byte == b'\n') {
        match Command::parse(line) {
            Ok(Command::Mail(said)) => mail = said,
            Ok(Command::Rcpt(said)) => survives(&mail, &said),
            Ok(_) => {}
            Err(error) => {
                let reply = Reply::from(&error);
                assert!(reply.is_permanent(), "{error}");
                let mut wire = Vec::new();
                reply.encode(&mut wire);
                assert!(wire.len() <= 512 && wire.is_ascii(), "{error}");
                assert_eq!(wire.iter().filter(|byte| **byte == b'\n').count(), 1, "{error}");
            }
        }
    }
});

fn survives(mail: &MailFrom, rcpt: &RcptTo) {
    let parameters = Parameters::of(mail, rcpt);
    let row = parameters.to_json().expect("parameters are written");
    let read = Parameters::from_json(&row).expect("and read again");
    assert_eq!(read, parameters, "{row}");
    if let Some(address) = rcpt.path.address() {
        assert_eq!(&read.rcpt_to(address.clone()), rcpt);
    }
    let onward = read.mail_from(mail.path.clone(), 1);
    assert_eq!((onward.ret, &onward.envid, onward.utf8), (mail.ret, &mail.envid, mail.utf8));
}
