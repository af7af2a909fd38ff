//! Effects and dynamic gas of the instructions that access state, shared by all dispatch loops.
//!
//! In: stack words and the frame's gas (`left`). Out: a result word, or the halt. Each method charges before it
//! accesses: under EIP-7928 an account or slot counts as accessed only once its access was paid for.
//! Relies on: the loop has checked the stack and charged static gas. Not here: calls and creations (`call`).

use super::halt::Halt;
use super::machine::Evm;
use super::state::flag;
use crate::arena::code::Code;
use crate::arena::{AccountId, SlotId};
use crate::exec::rules::fork::{CALL_STIPEND, Fork, STORAGE_WRITE};
use alloy_primitives::{Address, B256, U256, address, b256};

/// EIP-7708: the address that transfer logs come from; also the caller of system calls (EIP-4788).
pub const SYSTEM_ADDRESS: Address = address!("fffffffffffffffffffffffffffffffffffffffe");
/// EIP-7708: keccak256("Transfer(address,address,uint256)").
pub const TRANSFER_TOPIC: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Takes `cost` from `left`; [`Halt::OutOfGas`] if it is more.
#[inline(always)]
pub fn charge(left: &mut u64, cost: u64) -> Result<(), Halt> {
    match left.checked_sub(cost) {
        Some(rest) => {
            *left = rest;
            Ok(())
        }
        None => Err(Halt::OutOfGas),
    }
}

/// The address in the low 20 bytes of a stack word.
#[inline]
pub fn word_to_address(word: &U256) -> Address {
    Address::from_word(B256::from(word.to_be_bytes()))
}

/// An address as a stack word.
#[inline]
pub fn address_to_word(address: &Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

impl<'b> Evm<'b> {
    /// Charges for access to an account and loads it. `flat` is the access cost before Berlin. `extra` is what
    /// the instruction charges beside the access. The gas must suffice for both before the account counts as accessed.
    pub fn access_account(
        &mut self,
        left: &mut u64,
        address: &Address,
        flat: u64,
        extra: u64,
    ) -> Result<AccountId, Halt> {
        if !self.since(Fork::Berlin) {
            charge(left, flat + extra)?;
            let id = self.state.account_id(address)?;
            self.state.load(id)?;
            return Ok(id);
        }
        // An address without an id is cold. It must not be added to the id map before its access is paid for.
        let (known, warm) = self.state.peek_account(address);
        let access = if warm { self.rules.warm_access } else { self.rules.balance };
        charge(left, access + extra)?;
        let id = match known {
            Some(id) => id,
            None => self.state.account_id(address)?,
        };
        if !warm {
            self.state.warm(id);
        }
        self.state.load(id)?;
        Ok(id)
    }

    /// [`Self::access_account`] for the address in the low 20 bytes of a word.
    #[inline(always)]
    pub fn access_word(&mut self, left: &mut u64, word: &U256, flat: u64, extra: u64) -> Result<AccountId, Halt> {
        // Only since Berlin: before it, precompiles are the only warm accounts, and the flat cost has no warm price.
        if self.since(Fork::Berlin)
            && let Some(id) = self.state.warm_account(word)
        {
            charge(left, self.rules.warm_access + extra)?;
            return Ok(id);
        }
        self.access_word_first(left, word, flat, extra)
    }

    #[inline(never)]
    fn access_word_first(&mut self, left: &mut u64, word: &U256, flat: u64, extra: u64) -> Result<AccountId, Halt> {
        let id = self.access_account(left, &word_to_address(word), flat, extra)?;
        self.state.remember_account(word, id);
        Ok(id)
    }

    /// BALANCE in wei, all of its gas.
    #[inline]
    pub fn balance(&mut self, left: &mut u64, address: &U256) -> Result<U256, Halt> {
        let id = self.access_word(left, address, self.rules.balance, 0)?;
        Ok(self.state.balance(id))
    }

    /// SELFBALANCE (EIP-1884); the loop has charged its static gas.
    pub fn self_balance(&mut self) -> Result<U256, Halt> {
        let target = self.frame().target;
        self.state.load(target)?;
        Ok(self.state.balance(target))
    }

    /// What EXTCODESIZE and EXTCODECOPY charge beside the access: since Amsterdam a warm access for the code
    /// (EIP-8038).
    fn code_access_extra(&self) -> u64 {
        if self.since(Fork::Amsterdam) { self.rules.warm_access } else { 0 }
    }

    /// EXTCODESIZE, in bytes.
    #[inline]
    pub fn ext_code_size(&mut self, left: &mut u64, address: &U256) -> Result<usize, Halt> {
        Ok(self.ext_code(left, address, 0)?.len())
    }

    /// The code that EXTCODECOPY copies from. `copy` is the gas for copying and for memory expansion.
    #[inline]
    pub fn ext_code(&mut self, left: &mut u64, address: &U256, copy: u64) -> Result<&'b Code, Halt> {
        let extra = copy + self.code_access_extra();
        let id = self.access_word(left, address, self.rules.extcode, extra)?;
        let code = self.state.row(id).code;
        self.state.code(code)
    }

    /// EXTCODEHASH (EIP-1052): zero for an account that is empty or does not exist.
    #[inline]
    pub fn ext_code_hash(&mut self, left: &mut u64, address: &U256) -> Result<B256, Halt> {
        let id = self.access_word(left, address, self.rules.extcodehash, 0)?;
        if self.state.is_empty(id) {
            return Ok(B256::ZERO);
        }
        let code = self.state.row(id).code;
        Ok(self.state.codes.hash(code))
    }

    /// BLOCKHASH: zero for blocks other than the last 256.
    pub fn block_hash(&mut self, number: &U256) -> Result<B256, Halt> {
        let current = self.block.number;
        match u64::try_from(*number) {
            Ok(number) if number < current && current - number <= 256 => self.state.block_hash(number),
            _ => Ok(B256::ZERO),
        }
    }

    // Storage.

    /// The running frame's target, the slot's id if it has one, and whether the slot is warm.
    #[inline]
    fn peek_slot(&mut self, key: &U256) -> (AccountId, Option<SlotId>, bool) {
        let target = self.frame().target;
        let (known, warm) = self.state.peek_slot(target, key);
        (target, known, warm)
    }

    #[inline]
    fn enter_slot(&mut self, target: AccountId, key: &U256, known: Option<SlotId>, warm: bool) -> Result<SlotId, Halt> {
        let id = match known {
            Some(id) => id,
            None => self.state.slot_id(target, key)?,
        };
        if !warm && self.since(Fork::Berlin) {
            self.state.warm_slot(id);
        }
        self.state.load_slot(id)?;
        Ok(id)
    }

    /// SLOAD, all of its gas.
    #[inline(always)]
    pub fn sload(&mut self, left: &mut u64, key: &U256) -> Result<U256, Halt> {
        let target = self.frame().target;
        if let Some(id) = self.state.ready_slot(target, key) {
            charge(left, self.rules.warm_access)?;
            return Ok(self.state.slot_row(id).value);
        }
        self.sload_first(left, key)
    }

    #[inline(never)]
    fn sload_first(&mut self, left: &mut u64, key: &U256) -> Result<U256, Halt> {
        let (target, known, warm) = self.peek_slot(key);
        let cost = if warm { self.rules.warm_access } else { self.rules.sload };
        charge(left, cost)?;
        let id = self.enter_slot(target, key, known, warm)?;
        self.state.remember_slot(target, key, id);
        Ok(self.state.slot_row(id).value)
    }

    /// SSTORE, all of its gas (EIP-2200, 2929, 3529, 8037, 8038).
    #[inline(always)]
    pub fn sstore(&mut self, left: &mut u64, key: &U256, value: &U256) -> Result<(), Halt> {
        let frame = self.frame();
        let target = frame.target;
        if frame.is_static {
            return Err(Halt::StaticViolation);
        }
        if self.since(Fork::Istanbul) && *left <= CALL_STIPEND {
            return Err(Halt::OutOfGas);
        }
        let amsterdam = self.since(Fork::Amsterdam);
        let id = match self.state.ready_slot(target, key) {
            Some(id) => {
                charge(left, if amsterdam { self.rules.warm_access } else { 0 })?;
                id
            }
            None => self.sstore_first(left, key)?,
        };
        let row = self.state.slot_row(id);
        let (original, current) = (row.original(), row.value);
        if amsterdam {
            self.sstore_amsterdam(left, &original, &current, value)?;
        } else {
            self.sstore_metered(left, &original, &current, value)?;
        }
        self.state.set_slot(id, *value);
        Ok(())
    }

    #[inline(never)]
    fn sstore_first(&mut self, left: &mut u64, key: &U256) -> Result<SlotId, Halt> {
        let (target, known, warm) = self.peek_slot(key);
        let berlin = self.since(Fork::Berlin);
        let amsterdam = self.since(Fork::Amsterdam);
        // Since EIP-8038 a cold access costs 2,100 in total. Before it, the warm price is charged in addition.
        let access = match (berlin, warm) {
            (false, _) => 0,
            (true, false) => self.rules.sload,
            (true, true) if amsterdam => self.rules.warm_access,
            (true, true) => 0,
        };
        charge(left, access)?;
        // Before Istanbul there is no check of the 2,300 gas stipend (EIP-2200). The gas must suffice for the
        // cheapest write before the slot counts as accessed.
        if !self.since(Fork::Istanbul) {
            let least = if self.rules.fork == Fork::Constantinople { 200 } else { self.rules.sstore_reset };
            if *left < least {
                return Err(Halt::OutOfGas);
            }
        }
        let id = self.enter_slot(target, key, known, warm)?;
        self.state.remember_slot(target, key, id);
        Ok(id)
    }

    #[inline]
    fn sstore_amsterdam(&mut self, left: &mut u64, original: &U256, current: &U256, new: &U256) -> Result<(), Halt> {
        if new == current {
            return Ok(());
        }
        if current == original {
            charge(left, STORAGE_WRITE)?;
        }
        let state_gas = self.rules.state_storage_set;
        let last = self.frames.len() - 1;
        if original.is_zero() && current.is_zero() {
            if !self.gas.charge_state(left, &mut self.frames[last].gas.spilled, state_gas) {
                return Err(Halt::OutOfGas);
            }
        } else if original.is_zero() && new.is_zero() {
            self.gas.refill(left, &mut self.frames[last].gas.spilled, state_gas);
        }
        let clear = self.rules.sstore_clear_refund;
        if !original.is_zero() {
            if current.is_zero() {
                self.gas.refund -= clear;
            } else if new.is_zero() {
                self.gas.refund += clear;
            }
        }
        if new == original {
            self.gas.refund += STORAGE_WRITE as i64;
        }
        Ok(())
    }

    #[inline]
    fn sstore_metered(&mut self, left: &mut u64, original: &U256, current: &U256, new: &U256) -> Result<(), Halt> {
        let rules = self.rules;
        let clear = rules.sstore_clear_refund;
        // Net gas metering applies in Constantinople (EIP-1283) and since Istanbul (EIP-2200), but not in Petersburg.
        if rules.fork != Fork::Constantinople && !self.since(Fork::Istanbul) {
            charge(left, if current.is_zero() && !new.is_zero() { rules.sstore_set } else { rules.sstore_reset })?;
            if !current.is_zero() && new.is_zero() {
                self.gas.refund += clear;
            }
            return Ok(());
        }
        let touch = match rules.fork {
            _ if self.since(Fork::Berlin) => rules.warm_access,
            _ if self.since(Fork::Istanbul) => rules.sload,
            _ => 200,
        };
        if new == current {
            return charge(left, touch);
        }
        if original == current {
            if original.is_zero() {
                return charge(left, rules.sstore_set);
            }
            charge(left, rules.sstore_reset)?;
            if new.is_zero() {
                self.gas.refund += clear;
            }
            return Ok(());
        }
        charge(left, touch)?;
        if !original.is_zero() {
            if current.is_zero() {
                self.gas.refund -= clear;
            } else if new.is_zero() {
                self.gas.refund += clear;
            }
        }
        if original == new {
            let full = if original.is_zero() { rules.sstore_set } else { rules.sstore_reset };
            self.gas.refund += (full - touch) as i64;
        }
        Ok(())
    }

    /// TLOAD (EIP-1153); the loop has charged its static gas.
    #[inline]
    pub fn tload(&mut self, key: &U256) -> U256 {
        let target = self.frame().target;
        self.state.transient(target, key)
    }

    /// TSTORE (EIP-1153); the loop has charged its static gas.
    pub fn tstore(&mut self, key: U256, value: U256) -> Result<(), Halt> {
        if self.frame().is_static {
            return Err(Halt::StaticViolation);
        }
        let target = self.frame().target;
        self.state.set_transient(target, key, value);
        Ok(())
    }

    // Logs.

    /// LOG0 to LOG4: all of their gas, memory expansion included.
    pub fn log(&mut self, left: &mut u64, offset: U256, len: U256, topics: &[B256]) -> Result<(), Halt> {
        if self.frame().is_static {
            return Err(Halt::StaticViolation);
        }
        charge(left, 375 + 375 * topics.len() as u64)?;
        // A length above 64 bits saturates to one that no transaction can pay for.
        let bytes = u64::try_from(len).unwrap_or(u64::MAX / 8);
        charge(left, bytes.saturating_mul(8))?;
        let (offset, len) = self.expand(left, offset, len)?;
        let frame = self.frame();
        let (address, start) = (frame.address, frame.memory_base + offset);
        self.state.logs.push(address, topics, &self.memory[start..start + len]);
        Ok(())
    }

    /// The log of a value transfer between two different accounts, since Amsterdam (EIP-7708).
    pub(in crate::exec) fn log_transfer(&mut self, from: &Address, to: &Address, value: &U256) {
        if self.since(Fork::Amsterdam) && !value.is_zero() && from != to {
            let topics = [TRANSFER_TOPIC, from.into_word(), to.into_word()];
            self.state.logs.push(SYSTEM_ADDRESS, &topics, &value.to_be_bytes::<32>());
        }
    }

    // SELFDESTRUCT.

    /// SELFDESTRUCT, all of its gas (EIP-150, 161, 2929, 6780, 8037, 8246).
    pub fn selfdestruct(&mut self, left: &mut u64, beneficiary: &Address) -> Result<(), Halt> {
        if self.frame().is_static {
            return Err(Halt::StaticViolation);
        }
        let rules = self.rules;
        let (known, warm) = self.state.peek_account(beneficiary);
        let cold = self.since(Fork::Berlin) && !warm;
        charge(left, rules.selfdestruct + if cold { rules.balance } else { 0 })?;
        let beneficiary_id = match known {
            Some(id) => id,
            None => self.state.account_id(beneficiary)?,
        };
        if cold {
            self.state.warm(beneficiary_id);
        }
        self.state.load(beneficiary_id)?;
        let own = self.frame().target;
        self.state.load(own)?;
        let brings_into_being = if self.since(Fork::SpuriousDragon) {
            !self.state.balance(own).is_zero() && self.state.is_empty(beneficiary_id)
        } else {
            !self.state.exists(beneficiary_id)
        };
        if brings_into_being {
            if self.since(Fork::Amsterdam) {
                charge(left, crate::exec::rules::fork::ACCOUNT_WRITE)?;
                let last = self.frames.len() - 1;
                if !self.gas.charge_state(left, &mut self.frames[last].gas.spilled, rules.state_new_account) {
                    return Err(Halt::OutOfGas);
                }
            } else if self.since(Fork::TangerineWhistle) {
                charge(left, rules.new_account)?;
            }
        }
        if !self.since(Fork::London) && !self.state.row(own).has(flag::DESTROYED) {
            self.gas.refund += 24_000;
        }
        self.apply_selfdestruct(beneficiary_id, beneficiary);
        Ok(())
    }

    /// The effect of SELFDESTRUCT on the state, after its gas was charged. `beneficiary_id` is the id of `beneficiary`; it
    /// must be loaded.
    pub(in crate::exec) fn apply_selfdestruct(&mut self, beneficiary_id: AccountId, beneficiary: &Address) {
        let (own, from) = (self.frame().target, self.frame().address);
        let balance = self.state.balance(own);
        if own != beneficiary_id {
            self.state.transfer(own, beneficiary_id, balance);
            self.log_transfer(&from, beneficiary, &balance);
        }
        if !self.since(Fork::Cancun) || self.state.row(own).has(flag::CREATED) {
            if own == beneficiary_id && !self.since(Fork::Amsterdam) {
                self.state.set_balance(own, U256::ZERO);
            }
            self.state.set_flag(own, flag::DESTROYED);
        }
    }
}
