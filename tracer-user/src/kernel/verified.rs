//! What the kernel's verifier had to do for each program.

use aya::programs::ProgramError;

use super::{KernelError, Loaded};

/// A loaded program, and the work that it was to the verifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The program's name in the object.
    pub program: String,
    /// Instructions that the verifier has gone through, each as often as it did: at most 1,000,000,
    /// or the kernel refuses the program. `None` before Linux 5.16, which does not tell.
    pub instructions: Option<u32>,
}

impl Loaded {
    /// The programs that were loaded for the running kernel, in order of their names.
    pub fn verified(&self) -> Result<Vec<Verified>, KernelError> {
        let mut all = Vec::new();
        for (name, program) in self.ebpf.programs() {
            let info = match program.info() {
                Ok(info) => info,
                // One for other kernels.
                Err(ProgramError::NotLoaded) => continue,
                Err(source) => {
                    return Err(KernelError::Unknown { program: name.to_owned(), source });
                }
            };
            let instructions = info.verified_instruction_count();
            all.push(Verified { program: name.to_owned(), instructions });
        }
        all.sort_by(|a, b| a.program.cmp(&b.program));
        Ok(all)
    }
}
