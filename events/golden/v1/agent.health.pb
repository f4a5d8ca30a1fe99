
prodnode-1.example€Ò§Ú·3"_agent.default:agent.health@H(*0zo¥ëÜÊòëÜÃú^
degradedpublishSinkUnreachable")nats://127.0.0.1:4222: connection refused*0.1.026.12.0