# What OpenWrt's include/package.mk does with a package's own commands, and nothing else of it.
define BuildPackage
all:
	@echo $$(PKG_SOURCE_URL)/$$(PKG_SOURCE)
	$$(call Package/$(1)/install,$$(DESTINATION))
endef
