
prodnode-1.example€Ò§Ú·3"_agent.default:agent.profile@H(*0z¶¥ëÜÊòëÜÃò¤
baseline$5b1a7c52-9a43-4a4b-8f0a-6c1d2e3f4a5b"sha256:0123456789abcdef*degraded2HookUnavailable:0file.open: no hook works: tracefs is not mountedBdefaultHé