//! The NIF of `Linx.Seccomp`: compiles a policy of numbers to the bytes of its program.

use linx_wire::seccomp::{Arch, Condition, INSN_SIZE, Op, Policy, Rule, TooLong, compile};
use rustler::{Binary, Encoder, Env, Error, NewBinary, NifResult, Term, atoms};

use crate::list::List;

atoms! { ok, error, too_long }

/// A condition: argument, operator (the order of `Linx.Seccomp.Compiler`'s table), mask, value. The
/// first two are 32 bits wide because rustler truncates a larger number silently.
type RawCondition = (u32, u32, u64, u64);

/// A rule: system call number, `SECCOMP_RET_*` with its data, conditions.
type RawRule = (u32, u32, List<RawCondition>);

fn condition((arg, op, mask, value): RawCondition) -> NifResult<Condition> {
    let op = match op {
        0 => Op::Eq,
        1 => Op::Ne,
        2 => Op::Lt,
        3 => Op::Le,
        4 => Op::Gt,
        5 => Op::Ge,
        6 => Op::MaskedEq(mask),
        _ => return Err(Error::BadArg),
    };
    let arg = match u8::try_from(arg) {
        Ok(arg @ 0..=5) => arg,
        _ => return Err(Error::BadArg),
    };
    Ok(Condition { arg, op, value })
}

fn rule((number, action, conditions): RawRule) -> NifResult<Rule> {
    let conditions = conditions
        .0
        .into_iter()
        .map(condition)
        .collect::<Result<_, _>>()?;
    Ok(Rule {
        number,
        action,
        conditions,
    })
}

// Dirty, because the length of the program is known only after all rules are compiled.
#[rustler::nif(schedule = "DirtyCpu")]
fn seccomp_compile<'a>(
    env: Env<'a>,
    arch: u32,
    default: u32,
    rules: List<RawRule>,
) -> NifResult<Term<'a>> {
    let arch = Arch::from_audit(arch).ok_or(Error::BadArg)?;
    let rules = rules.0.into_iter().map(rule).collect::<Result<_, _>>()?;
    match compile(&Policy {
        arch,
        default,
        rules,
    }) {
        Err(TooLong) => Ok((error(), too_long()).encode(env)),
        Ok(program) => {
            let mut bytes = NewBinary::new(env, program.len() * INSN_SIZE);
            for (slot, insn) in bytes
                .as_mut_slice()
                .chunks_exact_mut(INSN_SIZE)
                .zip(program)
            {
                slot.copy_from_slice(&insn.to_bytes());
            }
            Ok((ok(), Binary::from(bytes)).encode(env))
        }
    }
}
