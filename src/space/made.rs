//! What the authority made for a space: certificates of hosts and logins, the allow list, the revocation lists.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::card::{Card, Endpoint, LoginCard};
use super::doors::{BoundDoor, Place};
use super::folder::Layout;
use super::list::{admit, signed_list};
use super::material::{self, Files, Wanted, subject_of};
use super::raise::RaiseError;
use crate::app::{BoundPort, Plan, limits_of, relay_options, retry_plan};
use crate::clock::Clock;
use crate::config::{
    self, HostCertificate, Login, LoginCertificate, LoginKind, Operator, Patient, Side, Space, Standing,
};
use crate::directory::{Directory, DirectoryError};
use crate::dns::Routes;
use crate::identity::{Domain, SubjectDn};
use crate::listener::{Face, Handshakes};
use crate::pki::{self, Authority, Identity, Issuer, Profile, Subject, TlsPolicy, TrustStore};
use crate::policy::submission::Rules;
use crate::sync::Responders;
use crate::trust::{Admitted, AllowList, AllowListDocument, ListedDomain};
use crate::web::Published;

/// Everything made or found again.
pub(super) struct Made {
    authority: Arc<Authority>,
    trust: Arc<TrustStore>,
    allow_list: Arc<AllowList>,
    allow_list_xml: String,
    hosts: HashMap<Domain, Arc<Identity>>,
    logins: HashMap<(String, String), (SubjectDn, Files)>,
    attempts: config::Attempts,
    limits: config::Limits,
    sending: Rules,
}

impl Made {
    /// Opens or creates the authority of a space whose web face is at `web_url`.
    pub(super) fn authority(
        layout: &Layout,
        space: &Space,
        web_url: String,
        now: Timestamp,
    ) -> Result<Arc<Authority>, RaiseError> {
        let options = space.authority.options(web_url);
        let authority = Authority::create_or_open(&layout.authority(), options, now)?;
        Ok(Arc::new(authority))
    }

    /// Has the authority issue what is missing, and signs the allow list.
    pub(super) fn make(
        authority: Arc<Authority>,
        layout: &Layout,
        space: &Space,
        now: Timestamp,
    ) -> Result<Self, RaiseError> {
        pki::write_public(&layout.ca(), pki::trust_bundle(&authority).as_bytes())?;
        let mut hosts = HashMap::new();
        let mut logins = HashMap::new();
        let mut entries = Vec::new();
        for operator in &space.operators {
            let subjects = make_hosts(&authority, layout, operator, &mut hosts, now)?;
            // One that is suspended is in no entry; one that has just lost a domain still sends what it took for it.
            let leaving = operator.leaving.iter().map(|leaving| &leaving.domain);
            let listed_domains = operator.domains.iter().chain(leaving);
            for domain in listed_domains.filter(|_| operator.standing == Standing::Active) {
                entries.extend(subjects.iter().map(|subject| listed(operator, domain, subject, now)));
            }
            for login in &operator.directory.logins {
                if let Some(made) = make_login(&authority, layout, operator, login, now)? {
                    logins.insert((operator.key.clone(), login.name.clone()), made);
                }
            }
        }
        let document = AllowListDocument {
            generated: now,
            entries,
        };
        let trust = Arc::new(trust_store(&authority, now)?);
        let (allow_list_xml, allow_list) = signed_list(&authority, layout, &document, (&trust, now))?;
        Ok(Self {
            authority,
            trust,
            allow_list,
            allow_list_xml,
            hosts,
            logins,
            attempts: space.attempts.clone(),
            limits: space.limits,
            sending: space.sending,
        })
    }

    /// Writes the allow list down, for commands that run beside the space.
    pub(super) fn write(&self, layout: &Layout) -> Result<(), RaiseError> {
        Ok(pki::write_public(&layout.allow_list(), self.allow_list_xml.as_bytes())?)
    }

    /// Puts on the web face what the authority of the field publishes.
    pub(super) fn publish(&self, published: &Published, now: Timestamp) -> Result<(), RaiseError> {
        let faults = **self.authority.faults().load();
        for publication in self.authority.publications(now, &faults)? {
            published.set_closed(&publication.path, publication.bytes.is_none());
            if let Some(bytes) = &publication.bytes {
                published.set(&publication.path, publication.media_type, bytes);
            }
        }
        published.set(
            "/ca.pem",
            "application/x-pem-file",
            pki::trust_bundle(&self.authority).as_bytes(),
        );
        published.set_with_checksum(
            "/listeblanchemssante.xml",
            "application/xml",
            self.allow_list_xml.as_bytes(),
        );
        Ok(())
    }

    /// The authority's certificates with the revocation lists of now: what every operator judges by from then on.
    pub(super) fn trust_of_now(&self, now: Timestamp) -> Result<Arc<TrustStore>, RaiseError> {
        Ok(Arc::new(trust_store(&self.authority, now)?))
    }

    /// Puts another list in place of the authority's, if an operator would take it: signed by the authority, and not older.
    pub(super) fn replace_list(
        &mut self,
        layout: &Layout,
        xml: Vec<u8>,
        now: Timestamp,
    ) -> Result<Admitted, RaiseError> {
        let trust = self.trust_of_now(now)?;
        let admitted = admit(&xml, Some(Arc::clone(&self.allow_list)), (&trust, now))?;
        self.allow_list_xml = String::from_utf8_lossy(&xml).into_owned();
        pki::write_public(&layout.allow_list(), &xml)?;
        self.allow_list = Arc::clone(&admitted.list);
        Ok(admitted)
    }

    /// The certificate of a host that the sandbox runs.
    pub(super) fn host(&self, name: &Domain) -> Option<Arc<Identity>> {
        self.hosts.get(name).cloned()
    }

    /// The allow list in force.
    pub(super) fn allow_list(&self) -> &Arc<AllowList> {
        &self.allow_list
    }

    /// The directory of one operator, with the subjects of the certificates of its logins.
    pub(super) fn directory(&self, operator: &Operator) -> Result<Directory, DirectoryError> {
        operator.directory(|login: &Login| {
            let key = (operator.key.clone(), login.name.clone());
            self.logins.get(&key).map(|(subject, _)| subject.clone())
        })
    }

    /// The plan of one local operator.
    pub(super) fn plan(
        &self,
        layout: &Layout,
        operator: &Operator,
        doors: Vec<BoundDoor>,
        (routes, clock): (Arc<dyn Routes>, &Clock),
    ) -> Result<Plan, RaiseError> {
        let directory = self.directory(operator)?;
        let mut ports = Vec::new();
        let mut sender = None;
        for door in doors {
            let BoundDoor { place, listener } = door;
            let Place { face, host, .. } = place;
            let Some(identity) = self.hosts.get(&host) else {
                continue;
            };
            if sender.is_none() {
                sender = Some((host.clone(), Arc::clone(identity)));
            }
            ports.push(BoundPort {
                face,
                host,
                listener,
                identity: Arc::clone(identity),
            });
        }
        let sender = sender.ok_or_else(|| RaiseError::NoHost(operator.key.clone()))?;
        Ok(Plan {
            operator: operator.key.clone(),
            clock: clock.clone(),
            store_folder: layout.store(&operator.key),
            retention: operator.retention,
            search: operator.search,
            directory,
            allow_list: Arc::clone(&self.allow_list),
            authority: Arc::clone(&self.trust),
            routes,
            sender,
            retry: retry_plan(&self.attempts)?,
            relay: relay_options(&self.attempts, TlsPolicy::default()),
            limits: limits_of(&self.limits, operator.size_bytes_max),
            sending: self.sending,
            handshakes: Handshakes::default(),
            tls: TlsPolicy::default(),
            responders: Arc::new(Responders::none()),
            ports,
        })
    }

    /// What to tell the user.
    pub(super) fn card(
        &self,
        layout: &Layout,
        space: &Space,
        web_url: &str,
        places: &BTreeMap<String, Vec<Place>>,
    ) -> Card {
        let mut card = Card {
            space: space.name.clone(),
            data: layout.root().display().to_string(),
            ca: layout.ca().display().to_string(),
            web: web_url.to_owned(),
            ..Card::default()
        };
        for operator in &space.operators {
            for place in places.get(&operator.key).into_iter().flatten() {
                card.endpoints.push(endpoint(&operator.key, place));
            }
            card.logins
                .extend(operator.patients.iter().map(|patient| patient_card(operator, patient)));
            card.logins.extend(
                operator
                    .directory
                    .logins
                    .iter()
                    .map(|login| self.login_card(operator, login)),
            );
        }
        card
    }

    fn login_card(&self, operator: &Operator, login: &Login) -> LoginCard {
        let mut card = LoginCard {
            name: login.name.clone(),
            operator: operator.key.clone(),
            ..LoginCard::default()
        };
        match &login.kind {
            LoginKind::Password(password) => {
                "password".clone_into(&mut card.kind);
                card.boxes = password.boxes.iter().map(ToString::to_string).collect();
                card.user = Some(password.user.clone());
                card.password = Some(password.password.reveal().to_owned());
            }
            LoginKind::Certificate { boxes, .. } => {
                "certificate".clone_into(&mut card.kind);
                card.boxes = boxes.iter().map(ToString::to_string).collect();
                if let Some((_, files)) = self.logins.get(&(operator.key.clone(), login.name.clone())) {
                    card.certificate = Some(files.certificate.display().to_string());
                    card.key = Some(files.key.display().to_string());
                    card.pkcs12 = Some(files.pkcs12.display().to_string());
                    card.pkcs12_password = Some(PKCS12_PASSWORD.to_owned());
                }
            }
        }
        card
    }
}

fn patient_card(operator: &Operator, patient: &Patient) -> LoginCard {
    let login = patient.login();
    LoginCard {
        name: format!("{} {}", patient.given_name, patient.family_name),
        operator: operator.key.clone(),
        kind: "password".to_owned(),
        boxes: login.boxes.iter().map(ToString::to_string).collect(),
        user: Some(login.user),
        password: Some(login.password.reveal().to_owned()),
        ..LoginCard::default()
    }
}

/// Certificates of an operator's hosts; returns the subjects that the allow list must name.
fn make_hosts(
    authority: &Authority,
    layout: &Layout,
    operator: &Operator,
    hosts: &mut HashMap<Domain, Arc<Identity>>,
    now: Timestamp,
) -> Result<Vec<SubjectDn>, RaiseError> {
    let issue = |host: &Domain| {
        let wanted = Wanted {
            folder: layout.operator(&operator.key).join(host.as_str()),
            profile: Profile::ServSsl,
            subject: subject(
                host.to_string(),
                operator.structure.structure_id(),
                &operator.name,
                &operator.department,
            ),
            names: Vec::new(),
            boxes: Vec::new(),
            pkcs12_password: PKCS12_PASSWORD,
        };
        material::certificate(authority, &wanted, now).map(|(identity, _)| Arc::new(identity))
    };
    let mut subjects = Vec::new();
    match &operator.side {
        Side::Local { hosts: local, .. } => {
            for host in local {
                let identity = issue(&host.name)?;
                subjects.push(subject_of(&identity));
                hosts.insert(host.name.clone(), identity);
            }
        }
        Side::External { hosts: external } => {
            for host in external {
                subjects.push(match &host.certificate {
                    HostCertificate::Issued => subject_of(&*issue(&host.name)?),
                    HostCertificate::Subject(subject) => subject.clone(),
                });
            }
        }
    }
    Ok(subjects)
}

fn make_login(
    authority: &Authority,
    layout: &Layout,
    operator: &Operator,
    login: &Login,
    now: Timestamp,
) -> Result<Option<(SubjectDn, Files)>, RaiseError> {
    let LoginKind::Certificate {
        certificate: LoginCertificate::Issued {
            organisation,
            structure,
        },
        boxes,
    } = &login.kind
    else {
        return Ok(None);
    };
    let wanted = Wanted {
        folder: layout.login(&operator.key, &login.name),
        profile: Profile::OrgAuthCli,
        subject: subject(
            login.name.clone(),
            structure.structure_id(),
            organisation,
            &operator.department,
        ),
        names: Vec::new(),
        boxes: boxes.iter().map(ToString::to_string).collect(),
        pkcs12_password: PKCS12_PASSWORD,
    };
    let (identity, files) = material::certificate(authority, &wanted, now)?;
    Ok(Some((subject_of(&identity), files)))
}

/// The field's subject layout: `C, ST, O, OU, CN`; O is cut at 40 characters.
fn subject(common_name: String, structure: String, organisation: &str, state: &str) -> Subject {
    Subject {
        common_name,
        structure,
        organisation: organisation.chars().take(ORGANISATION_CHARS_MAX).collect(),
        state: state.to_owned(),
        country: "FR".to_owned(),
    }
}

fn listed(operator: &Operator, domain: &Domain, certificate: &SubjectDn, now: Timestamp) -> ListedDomain {
    ListedDomain {
        domain: domain.clone(),
        description: operator.name.clone(),
        certificate: certificate.clone(),
        responsible_contact: format!("postmaster@{domain}"),
        support_contact: format!("postmaster@{domain}"),
        updated: now,
    }
}

/// What every operator of the space trusts: the authority, with its revocation lists of now.
fn trust_store(authority: &Authority, now: Timestamp) -> Result<TrustStore, RaiseError> {
    let certificate = |issuer| authority.certificate(issuer).clone();
    let mut store = TrustStore::new(vec![certificate(Issuer::Root)], vec![certificate(Issuer::Intermediate)])?;
    for issuer in [Issuer::Root, Issuer::Intermediate] {
        store = store.with_crl(&authority.crl(issuer, now)?)?;
    }
    Ok(store)
}

fn endpoint(operator: &str, place: &Place) -> Endpoint {
    let security = match place.face {
        Face::Peer => "STARTTLS, operator certificate",
        Face::Submission | Face::Imap => "STARTTLS, certificate (EXTERNAL) or password",
        Face::Submissions | Face::Imaps => "TLS, certificate (EXTERNAL) or password",
    };
    Endpoint {
        operator: operator.to_owned(),
        face: place.face.name().to_owned(),
        host: place.host.to_string(),
        address: place.address.to_string(),
        security: security.to_owned(),
    }
}

/// Password of every PKCS#12 file of a sandbox: import dialogs want one, and it protects nothing here.
pub(super) const PKCS12_PASSWORD: &str = "sandbox";
/// The field cuts O there.
const ORGANISATION_CHARS_MAX: usize = 40;
