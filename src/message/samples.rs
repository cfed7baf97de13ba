//! Messages for tests, usual and broken ones, the same in every run: what is read of them is recorded, so that a quicker way to read them is
//! seen to read the same.

/// A message of some 10 KB as a DUI sends it: a text, and a document.
pub(crate) fn usual() -> Vec<u8> {
    let mut message = USUAL.as_bytes().to_vec();
    while message.len() < 10_000 {
        message.extend_from_slice(b"JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZUR\r\n");
    }
    message.extend_from_slice(b"\r\n--=_0123456789abcdef--\r\n");
    message
}

/// Messages put together from pieces: fields with parameters and addresses in all manners, parts, and bytes changed here and there.
pub(crate) fn any(count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    (0..count).map(move |_| chance.message())
}

/// What was recorded of them: a number that changes with any byte.
pub(crate) fn digest<T: AsRef<[u8]>>(read: impl IntoIterator<Item = T>) -> u32 {
    let mut digest = crc32fast::Hasher::new();
    for bytes in read {
        let bytes = bytes.as_ref();
        digest.update(&(bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    }
    digest.finalize()
}

/// Xorshift: numbers that look like chance and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap_or(0)
    }

    fn one_of<'a>(&mut self, pieces: &[&'a str]) -> &'a str {
        pieces[self.below(pieces.len())]
    }

    fn message(&mut self) -> Vec<u8> {
        let mut text = String::new();
        if self.below(2) == 0 {
            text.push_str("Content-Type: multipart/mixed; boundary=b\r\n");
        }
        self.head(&mut text, 9);
        for _ in 0..self.below(7) {
            text.push_str(self.one_of(DELIMITERS));
            self.head(&mut text, 5);
            text.push_str(self.one_of(BODIES));
        }
        let mut bytes = text.into_bytes();
        let changes = if self.below(4) == 0 { self.below(4) } else { 0 };
        for _ in 0..changes.min(bytes.len()) {
            let at = self.below(bytes.len());
            bytes[at] = b"\r\n \"(;*\\\0\xC3-:="[self.below(13)];
        }
        bytes
    }

    fn head(&mut self, text: &mut String, fields_max: usize) {
        for _ in 0..self.below(fields_max) {
            self.field(text);
        }
        text.push_str(self.one_of(&["\r\n", "\r\n", "\r\n", "\n", ""]));
    }

    fn field(&mut self, text: &mut String) {
        match self.below(8) {
            0..=2 => {
                text.push_str(self.one_of(&[
                    "Content-Type: ",
                    "content-type:",
                    "CONTENT-TYPE :\t",
                    "Content-Type:\r\n ",
                ]));
                text.push_str(self.one_of(TYPES));
                self.parameters(text);
            }
            3 => {
                text.push_str(self.one_of(&["Content-Disposition: ", "content-disposition:"]));
                text.push_str(self.one_of(DISPOSITIONS));
                self.parameters(text);
            }
            4 | 5 => {
                let names = ["From", "from", "Sender", "Reply-To", "To", "Cc", "Bcc", "TO "];
                text.push_str(self.one_of(&names));
                text.push(':');
                for _ in 0..self.below(4) {
                    text.push_str(self.one_of(&[" ", "", "\r\n\t"]));
                    text.push_str(self.one_of(ADDRESSES));
                    text.push_str(self.one_of(&[",", ",", "", ";", ",,"]));
                }
                text.push_str(self.one_of(LINE_ENDS));
            }
            _ => text.push_str(self.one_of(FIELDS)),
        }
    }

    fn parameters(&mut self, text: &mut String) {
        for _ in 0..self.below(4) {
            let before = ["; ", ";", ";\r\n ", " ; ", "; (c) ", ";;", " (x;y) ; "];
            text.push_str(self.one_of(&before));
            text.push_str(self.one_of(NAMES));
            text.push_str(self.one_of(&["=", "=", "=", "= ", " =", "", "=="]));
            text.push_str(self.one_of(VALUES));
        }
        text.push_str(self.one_of(LINE_ENDS));
    }
}

const USUAL: &str = "Received: from dui.ehpad-lilas.mssante.fr (dui.ehpad-lilas.mssante.fr [192.0.2.7])\r\n\
    \tby mss.operateur.mssante.fr with ESMTPSA id 01;\r\n\tSun, 22 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\n\
    From: \"Foyer Lilas - DUI\" <dui@ehpad-lilas.mssante.fr>\r\nTo: <urgences@chu.mssante.fr>, Alix Test <alix@chu.mssante.fr>\r\n\
    Reply-To: <foyer@ehpad-lilas.mssante.fr>\r\nSubject: =?utf-8?Q?Synth=C3=A8se_d'essai,_sans_patient_r=C3=A9el?=\r\n\
    Date: Sun, 22 Nov 2026 10:00:00 +0100\r\nMessage-ID: <m1@ehpad-lilas.mssante.fr>\r\nX-MSS-NIL: DEV000001\r\n\
    Content-Type: multipart/mixed;\r\n\tboundary=\"=_0123456789abcdef\"\r\n\r\n\r\n--=_0123456789abcdef\r\n\
    Content-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
    Bonjour,=0A\r\nceci est un essai =C3=A0 ignorer.\r\n\r\n--=_0123456789abcdef\r\n\
    Content-Type: application/pdf; name=\"20261122_Synthese_TEST_Alix.pdf\"\r\n\
    Content-Disposition: attachment;\r\n\tfilename=\"20261122_Synthese_TEST_Alix.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n";

const LINE_ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", " \r\n", ";\r\n", "\n", "\t\r\n"];

const DELIMITERS: &[&str] = &[
    "--b\r\n",
    "--b\r\n",
    "\r\n--b\r\n",
    "\r\n--b\r\n",
    "\r\n--b \r\n",
    "\n--b\n",
    "--c\r\n",
    "\r\n--c d\r\n",
    "\r\n--b--\r\n",
    "--bc\r\n",
    "--",
];

const BODIES: &[&str] = &[
    "text\r\n",
    "",
    "<b>é</b>\r\n",
    "=C3=A9\r\n",
    "Qm9u\r\n",
    "-\r\n--\r\n",
    "\r\n\r\n",
    "a\nb\rc\r\n",
    "x",
];

const TYPES: &[&str] = &[
    "multipart/mixed",
    "multipart/mixed",
    "Multipart/Alternative",
    "multipart/digest",
    "text/plain",
    "text/plain",
    "TEXT/HTML",
    "message/rfc822",
    "Message/Global",
    "application/pdf",
    "text",
    "text/",
    "/plain",
    "text / plain",
    "a/b/c",
    "",
    "te xt/plain",
    "(c) text/plain (d)",
    "text/x-ü",
    "multipart/x-of-its-own",
];

const DISPOSITIONS: &[&str] = &[
    "attachment",
    "Attachment",
    "inline",
    "attachments",
    "",
    "\"attachment\"",
    "(c) a b",
];

const NAMES: &[&str] = &[
    "charset",
    "CHARSET",
    "charset*",
    "boundary",
    "Boundary",
    "name",
    "filename",
    "filename*",
    "filename*0",
    "filename*1",
    "filename*0*",
    "FileName*1*",
    "name*0",
    "name*00",
    "name*+1",
    "b c",
    "x (z)",
    "",
    "é",
];

const VALUES: &[&str] = &[
    "b",
    "b",
    "\"b\"",
    "\"c d\"",
    "utf-8",
    "\"UTF-8\"",
    "iso-8859-1''%E9",
    "utf-8'fr'%C3%A9",
    "\"a\\\"b\"",
    "\"a;b\"",
    "\"open",
    "a b",
    "a(b)c",
    "(b) c",
    "\"b\" c",
    "",
    "\"\"",
    "é",
    "\"é\"",
    "=?utf-8?q?=C3=A9?=",
    "a'b",
    "a\\b",
    "a\\;b",
    "\"long\r\n name.pdf\"",
    "\"\0\"",
    "a/b",
    "%41",
];

const ADDRESSES: &[&str] = &[
    "a@b.fr",
    "<a@b.fr>",
    "Jean  Bon <a@b.fr>",
    "\"Bon, J. \\\"B\\\"\" <a@b.fr>",
    "a@b.fr (Jean (le) Bon)",
    "\"odd l\"@b.fr",
    "<\"odd>l\"@b>",
    "<@a,@b:c@d>",
    "Team: a@b.fr, C <c@d>;",
    "u-r:;",
    "g: h: i",
    "root",
    "Jean Dupont",
    "\"open",
    "<open",
    "<>",
    "é <é@é>",
    "\"\0\" <\0@b>",
    "a @ b . c",
    "\"a\r\n b\" <c@\r\n d>",
    "[1:2]@[IPv6:::1]",
    "\"a\" \"b\"<a@b>",
    "a\"b\"c@d",
    "\"a\\\\b\"@c",
    "<\"a\\\"b\"@c>",
    "(a\\)b) c@d (e\\f)",
];

const FIELDS: &[&str] = &[
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: Quoted-Printable (x)\r\n",
    "content-transfer-encoding : \r\n QUOTED-PRINTABLE \r\n",
    "Content-Transfer-Encoding:\r\n",
    "Content-ID: <a@b>\r\n",
    "Content-Description: =?utf-8?q?a?= b\r\n c\r\n",
    "Content-MD5: abc==\r\n",
    "Content-Location: http://x/\r\n",
    "Content-Language: fr, en (x),,(y)\r\n",
    "Content-Language: (a\r\n",
    "Content-Length: 3\r\n",
    "Content-Types: text/html\r\n",
    "Date: Sun, 22 Nov 2026 10:00:00 +0100\r\n",
    "Subject: a \"b\" \\c\r\n",
    "Subject: é\r\n folded\r\n",
    "subject :\r\n",
    "Subject: \0 x\r\n",
    "Message-ID: <a@b>\r\n",
    "In-Reply-To: <a@b>\r\n <c@d>\r\n",
    "References: <a@b> <c@d>\r\n",
    "no field\r\n",
    ": x\r\n",
    " continued\r\n",
    "Received: from x\r\n\tby y\r\n",
    "a b: c\r\n",
    "\t\r\n",
    "-- x: y\r\n",
];
