//! Tests of the command grammar.

use super::*;
use proptest::prelude::*;

fn parse(line: &str) -> Result<Command, CommandError> {
    Command::parse(line.as_bytes())
}

fn sender(line: &str) -> MailFrom {
    match parse(line) {
        Ok(Command::Mail(mail)) => mail,
        other => panic!("{line}: {other:?}"),
    }
}

fn rcpt(line: &str) -> RcptTo {
    match parse(line) {
        Ok(Command::Rcpt(rcpt)) => rcpt,
        other => panic!("{line}: {other:?}"),
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[test]
fn verbs_are_read_in_any_case_and_with_trailing_spaces() {
    assert_eq!(parse("eHlO mx.example"), Ok(Command::Ehlo("mx.example".into())));
    assert_eq!(parse("HELO [127.0.0.1]"), Ok(Command::Helo("[127.0.0.1]".into())));
    assert_eq!(parse("quit  "), Ok(Command::Quit));
    assert_eq!(parse("NOOP whatever"), Ok(Command::Noop));
    assert_eq!(parse("help mail"), Ok(Command::Help));
    assert_eq!(parse("vrfy a"), Ok(Command::Vrfy));
    assert_eq!(parse("starttls"), Ok(Command::StartTls));
    assert_eq!(parse("data"), Ok(Command::Data));
    assert_eq!(parse("rset"), Ok(Command::Rset));
}

#[test]
fn arguments_that_do_not_fit_the_verb_are_refused() {
    for line in [
        "EHLO",
        "EHLO a b",
        "HELO ",
        "STARTTLS now",
        "DATA x",
        "RSET x",
        "QUIT x",
        "VRFY",
        "AUTH",
        "AUTH PLAIN a b",
    ] {
        assert!(matches!(parse(line), Err(CommandError::Syntax(_))), "{line}");
    }
    for line in ["", "FOO", "EHLOx y", " EHLO x", "GET / HTTP/1.1"] {
        assert_eq!(parse(line), Err(CommandError::Unrecognised), "{line}");
    }
    assert_eq!(parse("EXPN list"), Err(CommandError::NotImplemented));
    assert_eq!(Command::parse(b"EHLO \xff"), Err(CommandError::NotText));
    assert_eq!(parse("EHLO a\tb"), Err(CommandError::NotText));
    assert_eq!(parse("NOOP a\0"), Err(CommandError::NotText));
}

#[test]
fn a_path_is_an_address_null_or_the_bare_postmaster() {
    assert_eq!(sender("MAIL FROM:<>").path, None);
    assert_eq!(sender("mail from:<a@b.fr>").path, Some(address("a@b.fr")));
    assert_eq!(sender("MAIL FROM: <a@b.fr>").path, Some(address("a@b.fr")));
    assert_eq!(sender("MAIL FROM:<@x.fr,@y.fr:a@b.fr>").path, Some(address("a@b.fr")));
    assert_eq!(sender("MAIL FROM:<\"a> b\"@b.fr>").path, Some(address("\"a> b\"@b.fr")));
    assert_eq!(rcpt("RCPT TO:<Postmaster>").path, ForwardPath::Postmaster);
    assert_eq!(rcpt("RCPT TO:<a@b.fr>").path.address(), Some(&address("a@b.fr")));
    assert_eq!(
        rcpt("RCPT TO:<hélène@b.fr>").path.address(),
        Some(&address("hélène@b.fr"))
    );
    for line in [
        "MAIL",
        "MAIL FROM",
        "MAIL FROM:",
        "MAIL FROM:a@b.fr",
        "MAIL FROM:<a@b.fr",
        "MAIL FROM:<a>",
        "MAIL FROM:<a@b@c d>",
        "MAIL FROM:<@x.fr a@b.fr>",
        "MAIL TO:<a@b.fr>",
        "MAIL FROM:<postmaster>",
        "MAIL é",
    ] {
        assert_eq!(parse(line), Err(CommandError::ReversePath), "{line}");
    }
    for line in ["RCPT TO:<>", "RCPT TO:<a>", "RCPT FROM:<a@b.fr>", "RCPT TO:a@b.fr"] {
        assert_eq!(parse(line), Err(CommandError::ForwardPath), "{line}");
    }
    let long = format!("MAIL FROM:<{}@b.fr>", "a".repeat(600));
    assert_eq!(parse(&long), Err(CommandError::ReversePath));
}

#[test]
fn parameters_of_mail_become_typed_values() {
    let mail =
        sender("MAIL FROM:<a@b.fr> SIZE=1000 body=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ+2B314159 AUTH=<> REQUIRETLS");
    assert_eq!(mail.size_bytes, Some(1000));
    assert_eq!(mail.body, Some(Body::EightBitMime));
    assert!(mail.utf8);
    assert_eq!(mail.ret, Some(Ret::Headers));
    assert_eq!(mail.envid.unwrap().decoded(), "QQ+314159");
    assert_eq!(mail.auth.unwrap().decoded(), "<>");
    assert_eq!(mail.onward, Onward::TlsRequired);
    assert_eq!(
        sender("MAIL FROM:<> SIZE=99999999999999999999").size_bytes,
        Some(u64::MAX)
    );
}

#[test]
fn parameters_of_rcpt_become_typed_values() {
    let rcpt = rcpt("RCPT TO:<a@b.fr> NOTIFY=success,DELAY ORCPT=rfc822;Bob+2Btag@x.fr");
    let notify = rcpt.notify.unwrap();
    assert!(notify.wants(Notify::SUCCESS) && notify.wants(Notify::DELAY) && !notify.wants(Notify::FAILURE));
    assert_eq!(notify.to_string(), "SUCCESS,DELAY");
    let orcpt = rcpt.orcpt.unwrap();
    assert_eq!((orcpt.kind(), orcpt.address()), ("rfc822", "Bob+tag@x.fr"));
    assert_eq!(orcpt.to_string(), "rfc822;Bob+2Btag@x.fr");
}

#[test]
fn impossible_values_are_refused_and_unknown_parameters_named() {
    for (line, name) in [
        ("MAIL FROM:<> SIZE", "SIZE"),
        ("MAIL FROM:<> SIZE=-1", "SIZE"),
        ("MAIL FROM:<> SIZE=123456789012345678901", "SIZE"),
        ("MAIL FROM:<> BODY=9BIT", "BODY"),
        ("MAIL FROM:<> SMTPUTF8=yes", "SMTPUTF8"),
        ("MAIL FROM:<> RET=ALL", "RET"),
        ("MAIL FROM:<> ENVID=", "ENVID"),
        ("MAIL FROM:<> ENVID=a+0Ab", "ENVID"),
        ("MAIL FROM:<> ENVID=a+2bb", "ENVID"),
        ("MAIL FROM:<> ENVID=caf\u{e9}", "ENVID"),
        ("MAIL FROM:<> RET=", "RET"),
        ("MAIL FROM:<> RET=FULL,HDRS", "RET"),
        ("RCPT TO:<a@b.fr> NOTIFY=NEVER,DELAY", "NOTIFY"),
        ("RCPT TO:<a@b.fr> NOTIFY=DELAY,NEVER", "NOTIFY"),
        ("RCPT TO:<a@b.fr> NOTIFY=SUCCESS,", "NOTIFY"),
        ("RCPT TO:<a@b.fr> NOTIFY", "NOTIFY"),
        ("RCPT TO:<a@b.fr> NOTIFY=", "NOTIFY"),
        ("RCPT TO:<a@b.fr> ORCPT=a@b.fr", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=rfc822;a=b", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=rfc822;", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=;a@b.fr", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=rfc822;a+00@b.fr", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=rfc822;\u{e9}@b.fr", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=utf-8;a+2Bb@b.fr", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=utf-8;\\x{D800}@b.fr", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=utf-8;\\x{0A}@b.fr", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=utf-8;\\x{}@b.fr", "ORCPT"),
        ("RCPT TO:<a@b.fr> ORCPT=utf-8;\\xE9@b.fr", "ORCPT"),
    ] {
        assert_eq!(parse(line), Err(CommandError::Parameter(name)), "{line}");
    }
    assert_eq!(
        parse("MAIL FROM:<a@b.fr> X-SECRET=1"),
        Err(CommandError::UnknownParameter("X-SECRET".into()))
    );
    assert_eq!(
        parse("RCPT TO:<a@b.fr> SIZE=1"),
        Err(CommandError::UnknownParameter("SIZE".into()))
    );
    for (line, name) in [
        ("MAIL FROM:<> SIZE=1 size=2", "SIZE"),
        ("MAIL FROM:<> RET=FULL RET=FULL", "RET"),
        ("MAIL FROM:<> ENVID=a ENVID=b", "ENVID"),
        ("RCPT TO:<a@b.fr> NOTIFY=NEVER NOTIFY=DELAY", "NOTIFY"),
    ] {
        assert_eq!(parse(line), Err(CommandError::RepeatedParameter(name.into())), "{line}");
    }
    for line in ["MAIL FROM:<>SIZE=1", "MAIL FROM:<> =1", "MAIL FROM:<> a_b"] {
        assert!(matches!(parse(line), Err(CommandError::Syntax(_))), "{line}");
    }
}

#[test]
fn an_original_recipient_beyond_ascii_is_read_in_both_forms_and_leaves_in_seven_bits() {
    for wire in ["utf-8;andr\\x{E9}\\x{2B}x@b.fr", "UTF-8;andr\u{e9}\\x{2b}x@b.fr"] {
        let orcpt: OriginalRecipient = wire.parse().unwrap();
        assert_eq!(
            (orcpt.kind(), orcpt.address()),
            ("utf-8", "andr\u{e9}+x@b.fr"),
            "{wire}"
        );
        assert_eq!(orcpt.to_string(), "utf-8;andr\\x{E9}\\x{2B}x@b.fr");
    }
    let space: OriginalRecipient = "x400;/G+3DA+20B/".parse().unwrap();
    assert_eq!(
        (space.address(), space.to_string().as_str()),
        ("/G=A B/", "x400;/G+3DA+20B/")
    );
    let of = |text: &str| OriginalRecipient::of(&text.parse().unwrap()).to_string();
    assert_eq!(of("a+b@c.fr"), "rfc822;a+2Bb@c.fr");
    assert_eq!(of("\u{e9}+b@c.fr"), "utf-8;\\x{E9}\\x{2B}b@c.fr");
}

#[test]
fn envid_and_orcpt_are_as_long_as_the_standard_allows_and_no_longer() {
    for (length, taken) in [(100, true), (101, false)] {
        let line = format!("MAIL FROM:<> ENVID={}", "e".repeat(length));
        assert_eq!(parse(&line).is_ok(), taken, "ENVID {length}");
    }
    for (length, taken) in [(500, true), (501, false)] {
        let line = format!("RCPT TO:<a@b.fr> ORCPT=rfc822;{}", "o".repeat(length - 7));
        assert_eq!(parse(&line).is_ok(), taken, "ORCPT {length}");
    }
    // What would be longer than that on the way onward is not taken either: 6 bytes for each \u{e9}.
    for (count, taken) in [(82, true), (83, false)] {
        let text = format!("utf-8;{}", "\u{e9}".repeat(count));
        assert_eq!(text.parse::<OriginalRecipient>().is_ok(), taken, "{count}");
    }
}

#[test]
fn a_chunk_names_its_size_and_whether_it_is_the_last() {
    let header = |size_bytes, last| Ok(Command::Bdat(ChunkHeader { size_bytes, last }));
    assert_eq!(parse("BDAT 10"), header(10, false));
    assert_eq!(parse("bdat 0 last"), header(0, true));
    for line in [
        "BDAT",
        "BDAT x",
        "BDAT -1",
        "BDAT 1 FIRST",
        "BDAT 1 LAST x",
        "BDAT 99999999999999999999",
    ] {
        assert_eq!(parse(line), Err(CommandError::Chunk), "{line}");
    }
}

#[test]
fn debug_output_of_a_login_shows_no_secret() {
    let command = parse("AUTH plain AGEAc2VjcmV0").unwrap();
    assert!(!format!("{command:?}").contains("AGEAc2VjcmV0"));
    assert!(matches!(command, Command::Auth { mechanism, initial: Some(_) } if mechanism == "PLAIN"));
}

proptest! {
    #[test]
    fn no_line_makes_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _unused = Command::parse(&line);
    }

    #[test]
    fn no_line_that_begins_like_a_command_makes_the_parser_panic(
        head in prop_oneof![Just("MAIL FROM:<"), Just("RCPT TO:"), Just("BDAT "), Just("AUTH "), Just("MAIL FROM:<> ")],
        tail in "\\PC{0,60}",
    ) {
        let _unused = parse(&format!("{head}{tail}"));
    }

    #[test]
    fn xtext_survives_the_wire(text in "[ -~]{0,60}") {
        let xtext = Xtext::of(&text).unwrap();
        let back: Xtext = xtext.to_string().parse().unwrap();
        prop_assert_eq!(back.decoded(), text);
    }

    #[test]
    fn notify_survives_the_wire(bits in 0u8..8) {
        let notify = [Notify::SUCCESS, Notify::FAILURE, Notify::DELAY]
            .into_iter()
            .enumerate()
            .filter(|(position, _)| bits & (1 << position) != 0)
            .fold(Notify::NEVER, |sum, (_, occasion)| sum.with(occasion));
        prop_assert_eq!(notify.to_string().parse::<Notify>().unwrap(), notify);
    }
}
