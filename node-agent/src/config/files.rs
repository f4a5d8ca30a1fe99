//! Reads profile files into plans; keeps what was good when an edit is bad, and counts generations.
//!
//! A file that cannot be read or parsed keeps its last good documents; a profile that cannot be planned keeps its
//! last good plan. Absence from a file that was read is deletion; absence of a file never is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use weir_profile::load::{MAX_FILE_BYTES, load};
use weir_profile::plan::{SinkPlan, plan, plan_with_sink, sink_name};
use weir_profile::{CollectorProfile, CollectorSink, Document, FieldErrors, Plan, standalone_errors};

use super::{ConfigError, Desired, Problem};

/// The profile files of one run.
#[derive(Debug)]
pub struct Files {
    sources: Vec<Source>,
    /// `--sink`.
    sink: Option<SinkPlan>,
    /// The last good plan of each profile that is there.
    plans: BTreeMap<String, Plan>,
    /// Generations given so far, also of deleted profiles: a profile's UID is its name, and a generation of one UID is
    /// never given twice.
    generations: BTreeMap<String, i64>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    documents: Vec<Document>,
    /// It was a pipe, such as a shell's `<(...)`: read once, and never again.
    is_spent: bool,
}

impl Files {
    /// Files that were not read yet, and the URL of `--sink`.
    pub fn new(paths: Vec<PathBuf>, sink: Option<&str>) -> Result<Self, ConfigError> {
        let sink = sink
            .map(SinkPlan::from_url)
            .transpose()
            .map_err(ConfigError::Sink)?;
        let sources = paths
            .into_iter()
            .map(|path| Source {
                path,
                documents: Vec::new(),
                is_spent: false,
            })
            .collect();
        Ok(Self {
            sources,
            sink,
            plans: BTreeMap::new(),
            generations: BTreeMap::new(),
        })
    }

    /// The files' paths.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.sources.iter().map(|source| source.path.clone()).collect()
    }

    /// The first reading: everything must be good, and there must be a profile.
    pub fn start(&mut self) -> Result<Desired, Vec<ConfigError>> {
        let mut errors = self.read();
        if errors.is_empty() && self.plans.is_empty() {
            errors.push(ConfigError::NoProfile { files: self.paths() });
        }
        if errors.is_empty() {
            Ok(self.desired(&[]))
        } else {
            Err(errors)
        }
    }

    /// Reads again after an edit.
    pub fn reread(&mut self) -> Desired {
        let errors = self.read();
        self.desired(&errors)
    }

    /// The plans that hold, in the order of their names.
    #[must_use]
    pub fn plans(&self) -> Vec<Plan> {
        self.plans.values().cloned().collect()
    }

    fn desired(&self, errors: &[ConfigError]) -> Desired {
        let problem = |error: &ConfigError| match error {
            ConfigError::Profile {
                file: _,
                profile,
                source,
            } => Some(Problem {
                profile: profile.clone(),
                uid: profile.clone(),
                generation: self.generations.get(profile).copied().unwrap_or(0),
                nodes: None,
                reason: source.reason,
                message: source.to_string(),
            }),
            _ => None,
        };
        Desired {
            plans: self.plans(),
            errors: errors.iter().map(ToString::to_string).collect(),
            problems: errors.iter().filter_map(problem).collect(),
        }
    }

    fn read(&mut self) -> Vec<ConfigError> {
        let texts: Vec<_> = self
            .sources
            .iter_mut()
            .map(|source| {
                let read = (!source.is_spent).then(|| read_file(&source.path));
                // One that cannot be looked at may be a file that is away for a moment.
                source.is_spent |= source
                    .path
                    .metadata()
                    .is_ok_and(|found| found.file_type().is_fifo());
                read
            })
            .collect();
        self.take(texts)
    }

    /// The pure part: what the files hold becomes plans. A file without a text keeps its documents.
    fn take(&mut self, texts: Vec<Option<Result<String, ConfigError>>>) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (source, text) in self.sources.iter_mut().zip(texts) {
            let Some(text) = text else { continue };
            match text
                .map_err(|error| vec![error])
                .and_then(|text| parse(&source.path, &text))
            {
                Ok(documents) => source.documents = documents,
                Err(found) => errors.extend(found),
            }
        }
        let (profiles, sinks) = self.documents(&mut errors);
        let mut plans = BTreeMap::new();
        for (name, (file, profile)) in profiles {
            let last = self.plans.remove(&name);
            match self.planned(profile, &sinks, last.as_ref()) {
                Ok(plan) => drop(plans.insert(name, plan)),
                Err(found) => {
                    errors.extend(found.into_vec().into_iter().map(|source| ConfigError::Profile {
                        file: file.clone(),
                        profile: name.clone(),
                        source,
                    }));
                    if let Some(last) = last {
                        plans.insert(name, last);
                    }
                }
            }
        }
        for (name, plan) in &plans {
            self.generations.insert(name.clone(), plan.generation);
        }
        self.plans = plans;
        errors
    }

    /// All profiles and sinks by name; of two with one name, the earlier file's.
    fn documents(&self, errors: &mut Vec<ConfigError>) -> (Profiles, BTreeMap<String, CollectorSink>) {
        let mut profiles = Profiles::new();
        let mut sinks: BTreeMap<String, (&Path, CollectorSink)> = BTreeMap::new();
        for source in &self.sources {
            for document in &source.documents {
                let (kind, name, first) = match document {
                    Document::Profile(profile) => {
                        let name = profile.metadata.name.clone().unwrap_or_default();
                        let first = profiles.get(&name).map(|(file, _)| file.clone());
                        if first.is_none() {
                            profiles.insert(name.clone(), (source.path.clone(), (**profile).clone()));
                        }
                        ("CollectorProfile", name, first)
                    }
                    Document::Sink(sink) => {
                        let name = sink.metadata.name.clone().unwrap_or_default();
                        let first = sinks.get(&name).map(|(file, _)| file.to_path_buf());
                        if first.is_none() {
                            sinks.insert(name.clone(), (&source.path, (**sink).clone()));
                        }
                        ("CollectorSink", name, first)
                    }
                };
                if let Some(first) = first {
                    errors.push(ConfigError::Duplicate {
                        file: source.path.clone(),
                        first,
                        kind,
                        name,
                    });
                }
            }
        }
        (
            profiles,
            sinks.into_iter().map(|(name, (_, sink))| (name, sink)).collect(),
        )
    }

    /// Plans one profile. A plan that says the same as the last one keeps its generation.
    fn planned(
        &self,
        mut profile: CollectorProfile,
        sinks: &BTreeMap<String, CollectorSink>,
        last: Option<&Plan>,
    ) -> Result<Plan, FieldErrors> {
        FieldErrors::check(standalone_errors(&profile))?;
        // What a file copied from a cluster says of itself holds there, not here.
        profile.metadata.uid = None;
        profile.metadata.generation = last.map(|plan| plan.generation);
        let planned = match &self.sink {
            Some(sink) => plan_with_sink(&profile, sink.clone()),
            None => plan(&profile, sinks.get(sink_name(&profile))),
        };
        let mut planned = planned?;
        if last != Some(&planned) {
            planned.generation = self.generations.get(&planned.name).copied().unwrap_or(0) + 1;
        }
        Ok(planned)
    }
}

type Profiles = BTreeMap<String, (PathBuf, CollectorProfile)>;

fn parse(file: &Path, text: &str) -> Result<Vec<Document>, Vec<ConfigError>> {
    load(text).map_err(|errors| {
        let document = |source: &weir_profile::LoadError| ConfigError::Document {
            file: file.to_path_buf(),
            source: source.clone(),
        };
        errors.as_slice().iter().map(document).collect()
    })
}

/// Reads no more than may be, whatever the path names.
fn read_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        file: path.to_path_buf(),
        source,
    };
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge {
            file: path.to_path_buf(),
        });
    }
    String::from_utf8(bytes).map_err(|error| ConfigError::NotText {
        file: path.to_path_buf(),
        valid_up_to: error.utf8_error().valid_up_to(),
    })
}

#[cfg(test)]
mod tests;
