# What Buildroot's package/pkg-generic.mk does with a package's own commands, and nothing else of it: they run where the
# archive is unpacked, and install into TARGET_DIR.
INSTALL := install
define generic-package
$(BUILD)/.installed:
	@echo $$(TIDELOCK_SITE)/$$(TIDELOCK_SOURCE)
	$$(TIDELOCK_INSTALL_TARGET_CMDS)
	$$(TIDELOCK_INSTALL_INIT_$$(INIT))
endef
include $(RECIPE)
