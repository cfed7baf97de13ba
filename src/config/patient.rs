//! `[[operator.patient]]`: the citizens of the patient space, each with a box `INS@patient.mssante.fr`.

use super::declared::Declared;
use super::reader::{At, Section};
use crate::directory::{Attachment, BoxState, BoxType, MailBox, PasswordLogin, Secret};
use crate::identity::{Address, Domain, Ins};

/// A fictive citizen.
#[derive(Clone, Debug)]
pub struct Patient {
    /// INS: the local part of the address.
    pub ins: Ins,
    /// Birth name.
    pub family_name: String,
    /// First given name.
    pub given_name: String,
    /// Whether the box takes mail.
    pub state: BoxState,
    address: Address,
}

impl Patient {
    /// Its address, `INS@patient.mssante.fr`.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The login that reads it; until an identity provider vouches for citizens, a sandbox password.
    pub fn login(&self) -> PasswordLogin {
        PasswordLogin {
            user: self.address.to_string(),
            password: Secret::new(PATIENT_PASSWORD),
            boxes: vec![self.address.clone()],
        }
    }

    /// Its box.
    pub fn mailbox(&self) -> MailBox {
        MailBox {
            address: self.address.clone(),
            box_type: BoxType::Patient,
            label: format!("{} {}", self.given_name, self.family_name),
            attachment: Attachment::None,
            holder: None,
            state: self.state,
        }
    }
}

/// Lets a tester read what a patient received: the name of the login and its password.
const PATIENT_PASSWORD: &str = "sandbox";

/// Reads `[[patient]]` under `parent`.
pub(super) fn read_patients(parent: &Section<'_>, domains: &[Domain], declared: &mut Declared) -> Vec<Patient> {
    let sections = parent.sections("patient");
    let patient_domain = domains.iter().find(|domain| domain.is_patient());
    if let (Some(first), None) = (sections.first(), patient_domain) {
        first.wrong_here(
            "this operator has patients but not the domain patient.mssante.fr".into(),
            "move them to the operator of the patient space",
        );
    }
    let mut patients = Vec::new();
    for section in sections {
        let ins = section.required::<Ins>("ins");
        let family_name = section.required::<String>("family_name");
        let given_name = section.required::<String>("given_name");
        let state = section.or("state", BoxState::Active);
        if let Some(ins) = &ins {
            warn_of_key(&section, ins);
        }
        let address = ins.as_ref().zip(patient_domain).and_then(|(ins, domain)| {
            let address = format!("{}@{domain}", ins.reveal()).parse::<Address>().ok()?;
            let at = At {
                value: address,
                span: ins.span.clone(),
            };
            declared
                .boxes
                .declare(&section, &at, format_args!("patient {}", at.masked()));
            Some(at.value)
        });
        section.close();
        if let (Some(ins), Some(family), Some(given), Some(address)) = (ins, family_name, given_name, address) {
            patients.push(Patient {
                ins: ins.value,
                family_name: family.value,
                given_name: given.value,
                state,
                address,
            });
        }
    }
    patients
}

/// Published fictive patients have wrong keys, so a wrong one is played with and not refused.
fn warn_of_key(section: &Section<'_>, ins: &At<Ins>) {
    if !ins.key_matches() {
        section.warn(
            ins,
            format!("{:?} has a wrong key: clients should refuse to write to it", ins.value),
        );
    }
}
