################################################################################
#
# tidelock
#
################################################################################

# Buildroot: package/tidelock/tidelock.mk; tidelock.hash beside it names the hash of the archive, from SHA256SUMS.
# Checked by tests/suite/packages/recipes.rs: the file for each processor, what is installed for each init system, and the
# script for BusyBox's init and sysvinit at work. Checked once by hand: see Config.in.

TIDELOCK_VERSION = 0.1.0
TIDELOCK_SITE = https://releases.example.org/tidelock
TIDELOCK_LICENSE = Apache-2.0
TIDELOCK_LICENSE_FILES = LICENSE

ifeq ($(BR2_aarch64),y)
TIDELOCK_TARGET = aarch64
else ifeq ($(BR2_x86_64),y)
TIDELOCK_TARGET = x86_64
else ifeq ($(BR2_i386),y)
TIDELOCK_TARGET = i686
else ifeq ($(BR2_RISCV_64),y)
TIDELOCK_TARGET = riscv64
else ifeq ($(filter y,$(BR2_ARM_CPU_ARMV7A) $(BR2_ARM_CPU_ARMV8A))$(BR2_ARM_CPU_HAS_VFPV3),yy)
TIDELOCK_TARGET = armv7
else
TIDELOCK_TARGET = armv6
endif
TIDELOCK_SOURCE = tidelock-$(TIDELOCK_TARGET).tar.gz

define TIDELOCK_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/usr/bin/tidelock $(TARGET_DIR)/usr/bin/tidelock
endef

define TIDELOCK_INSTALL_INIT_SYSTEMD
	$(foreach unit,tidelock tidelock-guard tidelock-firstboot,
		$(INSTALL) -D -m 0644 $(@D)/systemd/system/$(unit).service $(TARGET_DIR)/usr/lib/systemd/system/$(unit).service
	)
	$(INSTALL) -D -m 0644 $(@D)/systemd/sysusers.d/tidelock.conf $(TARGET_DIR)/usr/lib/sysusers.d/tidelock.conf
	$(INSTALL) -D -m 0644 $(@D)/systemd/tmpfiles.d/tidelock.conf $(TARGET_DIR)/usr/lib/tmpfiles.d/tidelock.conf
endef

define TIDELOCK_INSTALL_INIT_OPENRC
	$(INSTALL) -D -m 0755 $(@D)/openrc $(TARGET_DIR)/etc/init.d/tidelock
	mkdir -p $(TARGET_DIR)/etc/runlevels/default
	ln -sf /etc/init.d/tidelock $(TARGET_DIR)/etc/runlevels/default/tidelock
endef

define TIDELOCK_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(TIDELOCK_PKGDIR)/S95tidelock $(TARGET_DIR)/etc/init.d/S95tidelock
endef

# Who may read what the agent says of itself.
define TIDELOCK_USERS
	- - tidelock -1 - - - - tidelock
endef

$(eval $(generic-package))
